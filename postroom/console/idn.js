// The Unicode spelling of a domain, which browsers do not decode for scripts (RFC 3492).

const [BASE, TMIN, TMAX, SKEW, DAMP, BIAS, FIRST] = [36, 1, 26, 38, 700, 72, 128];

function adapt(delta, count, isFirst) {
  let rest = Math.floor(delta / (isFirst ? DAMP : 2));
  rest += Math.floor(rest / count);
  let k = 0;
  for (; rest > ((BASE - TMIN) * TMAX) / 2; k += BASE) rest = Math.floor(rest / (BASE - TMIN));
  return k + Math.floor(((BASE - TMIN + 1) * rest) / (rest + SKEW));
}

function decode(text) {
  const dash = text.lastIndexOf("-");
  const output = [...text.slice(0, Math.max(dash, 0))];
  let [code, i, bias, at] = [FIRST, 0, BIAS, dash + 1];
  while (at < text.length) {
    const before = i;
    for (let weight = 1, k = BASE; ; k += BASE) {
      const digit = parseInt(text[at], 36);
      if (Number.isNaN(digit)) throw new RangeError("not Punycode");
      at += 1;
      i += ((digit + 26) % 36) * weight; // a–z are 0–25, 0–9 are 26–35; parseInt has it the other way
      const threshold = Math.min(Math.max(k - bias, TMIN), TMAX);
      if (((digit + 26) % 36) < threshold) break;
      weight *= BASE - threshold;
    }
    bias = adapt(i - before, output.length + 1, before === 0);
    code += Math.floor(i / (output.length + 1));
    i %= output.length + 1;
    output.splice(i, 0, String.fromCodePoint(code));
    i += 1;
  }
  return output.join("");
}

/** The domain in Unicode, or null if it is the same, or is no A-label. */
export function unicodeOf(domain) {
  try {
    const labels = domain.split(".").map((label) => (label.startsWith("xn--") ? decode(label.slice(4)) : label));
    return labels.join(".") === domain ? null : labels.join(".");
  } catch {
    return null;
  }
}
