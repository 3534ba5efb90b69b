// Formats times, numbers and statuses.

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [
  ["year", 31536000],
  ["month", 2592000],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

export const number = (value) => new Intl.NumberFormat("en").format(value);
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
export const when = (text) => exact.format(new Date(text));
export const date = (text) => day.format(new Date(text));

const SIZES = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

/** "618 byte", "2.1 kB", "14 MB". */
export function size(bytes) {
  const step = Math.min(SIZES.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** step;
  return new Intl.NumberFormat("en", { style: "unit", unit: SIZES[step], maximumFractionDigits: step && value < 10 ? 1 : 0 }).format(value);
}

/** "3 hours ago", "in 2 days". */
export function ago(text, now = Date.now()) {
  const seconds = (new Date(text) - now) / 1000;
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return "just now";
}
