// Numbers, sizes and times for people, in the browser's language.
const NUMBER = new Intl.NumberFormat();
const AGO = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];
const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];

export const number = (value) => NUMBER.format(value);
export const time = (value) => TIME.format(new Date(value));

export function percent(value, digits = 0) {
  return value.toLocaleString(undefined, { style: "percent", maximumFractionDigits: digits });
}

export function bytes(value) {
  const power = value < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(value) / 10));
  const amount = value / 1024 ** power;
  const digits = amount < 10 && power ? 1 : 0;
  return `${amount.toLocaleString(undefined, { maximumFractionDigits: digits })} ${SIZES[power]}`;
}

// The remaining time in words; nothing where `seconds_left` is missing.
export function left({ seconds_left: seconds }) {
  const [unit, size] = UNITS.find(([, length]) => seconds >= length) ?? UNITS[3];
  return seconds ? `, about ${plural(Math.max(1, Math.round(seconds / size)), unit)} left` : "";
}

export function ago(value) {
  const seconds = (new Date(value) - Date.now()) / 1000;
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS[3];
  return AGO.format(Math.round(seconds / size), unit);
}

export const plural = (count, noun, nouns = `${noun}s`) => `${number(count)} ${count === 1 ? noun : nouns}`;
