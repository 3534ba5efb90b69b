// Small charts as SVG. Each has a text for people who cannot see it.

import { h, newId, s } from "./dom.js";
import { number } from "./format.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
// Scales, the longest first: [length of a bar in ms, number of bars, words, format of a bar's
// label].
const SCALES = [
  [DAY, 14, "the last 14 days", { weekday: "short", day: "numeric", month: "short" }],
  [HOUR, 24, "the last 24 hours", { hour: "2-digit", minute: "2-digit" }],
  [5 * MINUTE, 24, "the last two hours", { hour: "2-digit", minute: "2-digit" }],
  [MINUTE, 20, "the last 20 minutes", { hour: "2-digit", minute: "2-digit" }],
  [MINUTE / 12, 24, "the last two minutes", { hour: "2-digit", minute: "2-digit", second: "2-digit" }],
];

/**
 * Counts times in bars, on the longest scale that the data covers completely: nothing is known
 * about the time before `covered`. If no scale is short enough, `isCut` is true, and the bars that
 * begin before `covered` are unknown.
 */
export function buckets(times, covered, now = Date.now()) {
  const [size, count, title, style] = SCALES.find(([length, bars]) => startOf(now, length, bars) >= covered) || SCALES.at(-1);
  const start = startOf(now, size, count);
  const label = new Intl.DateTimeFormat("en", style);
  const bars = Array.from({ length: count }, (_, place) => ({ label: label.format(start + place * size), count: 0, isUnknown: start + place * size < covered }));
  for (const time of times) {
    const place = Math.floor((time - start) / size);
    if (place >= 0 && place < count) bars[place].count += 1;
  }
  return { title, bars, isCut: start < covered };
}

/** The start of the first of `count` bars. Days begin at midnight local time. */
function startOf(now, size, count) {
  const shift = size === DAY ? new Date(now).getTimezoneOffset() * MINUTE : 0;
  return (Math.floor((now - shift) / size) - count + 1) * size + shift;
}

/**
 * Draws bars, and of each bar in another color how many of its `count` have `failed`, if that is
 * known.
 */
export function columns({ noun, title, bars, isCut }, words) {
  const width = 100 / bars.length;
  const highest = Math.max(1, ...bars.map((bar) => bar.count));
  const total = bars.reduce((sum, bar) => sum + bar.count, 0);
  const id = newId("chart");
  const drawn = bars.map((bar, place) => {
    const height = bar.isUnknown && !bar.count ? 56 : bar.count ? Math.max(2, (bar.count / highest) * 56) : 0.8;
    const kind = bar.isUnknown ? "bar unknown" : bar.count ? "bar" : "bar none";
    const box = { x: place * width + width * 0.14, y: 58 - height, width: width * 0.72, height, rx: 0.5, class: kind };
    const failed = bar.failed ? Math.max(2, (bar.failed / highest) * 56) : 0;
    const said = bar.isUnknown ? (bar.count ? `at least ${words(bar)}` : "not counted") : words(bar);
    return s("g", null, s("rect", { x: place * width, y: 0, width, height: 60, class: "hit" }), s("rect", box), failed > 0 && s("rect", { ...box, height: failed, class: "bar failed" }), s("title", null, `${bar.label}: ${said}`));
  });
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", { id }, h("strong", null, isCut ? `At least ${number(total)}` : number(total)), noun && ` ${noun}`, ` in ${title}`, isCut && ", as far back as was counted"),
    s("svg", { viewBox: "0 0 100 60", preserveAspectRatio: "none", role: "img", "aria-labelledby": id }, drawn),
    h("div", { class: "axis", "aria-hidden": "true" }, h("span", null, bars[0].label), h("span", null, bars.at(-1).label)),
  );
}

/** Shows the parts of a whole as one line: [[count, status], …]. */
export function share(parts) {
  const total = parts.reduce((sum, [count]) => sum + count, 0) || 1;
  let at = 0;
  const rects = parts.map(([count, name]) => {
    const width = (count / total) * 100;
    const rect = s("rect", { x: at, y: 0, width, height: 6, class: `share ${name}` });
    at += width;
    return rect;
  });
  const words = parts.filter(([count]) => count).map(([count, name]) => `${number(count)} ${name}`);
  return s("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", class: "share-line", role: "img", "aria-label": words.join(", ") || "none" }, rects);
}
