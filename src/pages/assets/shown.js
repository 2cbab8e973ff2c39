// Numbers, as the server writes them in pages (`shown.rs`).

/** A number to read at a glance: `950`, `12.4 k`. With a mark, if a part is an estimate. */
export function rough(number, estimated) {
  const mark = estimated ? "~" : "";
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (number < size) continue;
    const whole = Math.floor(number / size);
    if (whole >= 100) return `${mark}${exact(whole)} ${unit}`;
    return `${mark}${whole}.${Math.floor((number % size) / (size / 10))} ${unit}`;
  }
  return `${mark}${number}`;
}

/** An exact number, in groups of three digits. */
export function exact(number) {
  return number.toLocaleString("en-US");
}

/** A part of a whole; `0 %` only if there is none of it. */
export function percent(part, whole) {
  const permille = Math.floor((part * 1000) / Math.max(whole, 1));
  if (permille === 0) return part > 0 ? "< 0.1 %" : "0 %";
  return permille >= 1000 ? "100 %" : `${Math.floor(permille / 10)}.${permille % 10} %`;
}

export function milliseconds(ms) {
  return ms < 1000 ? `${ms} ms` : `${Math.floor(ms / 1000)}.${Math.floor((ms % 1000) / 100)} s`;
}

/** A cost in its currencies. `–` if there is none. */
export function cost(amounts, estimated) {
  const sums = Object.entries(amounts).map(([currency, amount]) => `${rounded(Number(amount))} ${currency}`);
  return sums.length === 0 ? "–" : `${estimated ? "~" : ""}${sums.join(" + ")}`;
}

/** Two digits after the point from 1 on; below, four digits that count. */
function rounded(amount) {
  if (amount === 0 || amount >= 1) return amount.toFixed(2);
  const digits = Math.min(12, 3 - Math.floor(Math.log10(amount)));
  return amount.toFixed(digits).replace(/(\.\d\d\d*?)0+$/, "$1");
}
