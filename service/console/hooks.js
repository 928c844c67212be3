// How components load and act.
import { useCallback, useEffect, useRef, useState } from "./vendor/hooks.js";
import { returns, session } from "./store.js";

// What `load(signal)` resolves to: {data, error, isLoading, reload}. It is loaded again when a value of `deps` or the
// key changes, when a service that was away is back, and every `every` milliseconds while the page is visible; `every`
// may be a function of the data. Data of other `deps` is never shown; while it is loaded again the older stays, also
// when a user exchanges the key: the pages of another user are others.
export function useLoad(load, deps, every = 0) {
  const key = session.value?.key;
  const name = JSON.stringify(deps);
  const [turn, setTurn] = useState(0);
  const [state, setState] = useState({ name, data: undefined, error: null });
  const [isLoading, setLoading] = useState(true);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    const abort = new AbortController();
    setLoading(true);
    latest.current(abort.signal).then(
      (data) => abort.signal.aborted || (setState({ name, data, error: null }), setLoading(false)),
      (error) => {
        if (abort.signal.aborted) return;
        setState((old) => ({ name, data: old.name === name ? old.data : undefined, error }));
        setLoading(false);
      },
    );
    return () => abort.abort();
  }, [name, key, turn, returns.value]);
  const current = state.name === name ? state : { data: undefined, error: null };
  const wait = typeof every === "function" ? (current.data === undefined ? 0 : every(current.data)) : every;
  useEffect(() => {
    if (!wait || isLoading) return undefined; // counted from the end of a load, which a slow service would never reach
    const timer = setInterval(() => document.hidden || setTurn((old) => old + 1), wait);
    return () => clearInterval(timer);
  }, [wait, name, isLoading]);
  const reload = useCallback(() => setTurn((old) => old + 1), []);
  return { data: current.data, error: current.error, isLoading, reload };
}

// An action of a button or form: {run, isRunning, error, cancel}. `act(...arguments, {signal})` is cancelled by
// `cancel`, and when the component goes. `run` resolves to whether it succeeded.
export function useAction(act) {
  const [state, setState] = useState({ isRunning: false, error: null });
  const running = useRef(null);
  const cancel = useCallback(() => running.current?.abort(), []);
  useEffect(() => cancel, []);
  const run = async (...given) => {
    if (running.current) return false;
    const abort = new AbortController();
    running.current = abort;
    setState({ isRunning: true, error: null });
    try {
      await act(...given, { signal: abort.signal });
      setState({ isRunning: false, error: null });
      return true;
    } catch (error) {
      setState({ isRunning: false, error: abort.signal.aborted ? null : error });
      return false;
    } finally {
      running.current = null;
    }
  };
  return { ...state, run, cancel };
}

