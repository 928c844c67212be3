// How components load and act.
import { all, get, post } from "./api.js";
import { returns, session } from "./store.js";
import { useCallback, useEffect, useRef, useState } from "./vendor/hooks.js";

// What `load(signal)` resolves to: {data, error, isLoading, reload}. It is loaded again when a value of `deps` or the
// key changes, when a service that was away is back, and every `every` milliseconds while the page is visible; `every`
// may be a function of the data. Data of other `deps` is never shown; while it is loaded again the older stays, also
// when a user exchanges the key: the pages of another user are others.
export function useLoad(load, deps, every = 0) {
  const name = JSON.stringify(deps);
  const [turn, setTurn] = useState(0);
  const [state, setState] = useState({});
  const [isLoading, setLoading] = useState(true);
  const reload = useCallback(() => setTurn((old) => old + 1), []);
  const { data, error } = state.name === name ? state : {};
  useEffect(() => {
    const abort = new AbortController();
    const loaded = (found) => {
      if (abort.signal.aborted) return;
      setState((old) => ({ ...(old.name === name ? old : { name }), error: null, ...found }));
      setLoading(false);
    };
    setLoading(true);
    load(abort.signal).then((found) => loaded({ data: found }), (problem) => loaded({ error: problem }));
    return () => abort.abort();
  }, [name, session.value?.key, turn, returns.value]);
  const wait = typeof every === "function" ? data !== undefined && every(data) : every;
  useEffect(() => {
    if (!wait || isLoading) return undefined; // counted from the end of a load, which a slow service would never reach
    const timer = setInterval(() => document.hidden || reload(), wait);
    return () => clearInterval(timer);
  }, [wait, name, isLoading]);
  return { data, error, isLoading, reload };
}

// The answer to a GET of the interface. While `where` is empty nothing is asked, and the data are null.
export function useGet(where, query, every) {
  return useLoad(async (signal) => (where ? get(where, { query, signal }) : null), [where, query], every);
}

// The same of all entries of a list that has pages; `field` names them in an answer. Without `where` they are none.
export function useAll(where, field, query) {
  return useLoad(async (signal) => (where ? all(where, field, { query, signal }) : []), [where, field, query]);
}

// The same of a POST that only reads.
export function usePost(where, body) {
  return useLoad(async (signal) => (where ? post(where, body, { signal }) : null), [where, body]);
}

// An action of a button or form: {run, isRunning, error, cancel}. `act(...arguments, {signal})` is cancelled by
// `cancel`, and when the component goes.
export function useAction(act) {
  const [state, setState] = useState({ isRunning: false, error: null });
  const running = useRef(null);
  const cancel = useCallback(() => running.current?.abort(), []);
  useEffect(() => cancel, []);
  const run = async (...given) => {
    if (running.current) return;
    const abort = new AbortController();
    running.current = abort;
    setState({ isRunning: true, error: null });
    const error = await act(...given, { signal: abort.signal }).then(() => null, (problem) => problem);
    running.current = null;
    setState({ isRunning: false, error: abort.signal.aborted ? null : error });
  };
  return { ...state, run, cancel };
}
