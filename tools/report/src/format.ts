const NONE = '\u2013';

/** "19,366"; with thin precision where a number is small: three significant digits, never an exponent. */
export function num(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (value === 0) return '0';
  const size = Math.floor(Math.log10(Math.abs(value)));
  const decimals = Math.min(6, Math.max(0, digits - 1 - size));
  return value.toLocaleString('en-US', { minimumFractionDigits: 0, maximumFractionDigits: decimals });
}

export function whole(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  return Math.round(value).toLocaleString('en-US');
}

/** A share: "33 %", with a decimal where it is close to 0 or 1 but neither. */
export function pct(share: number | null | undefined): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return NONE;
  const percent = 100 * share;
  const close = (percent > 0 && percent < 1) || (percent > 99 && percent < 100);
  const text = percent.toFixed(close ? 1 : 0);
  if (close && text === '0.0') return '< 0.1 %';
  if (close && text === '100.0') return '> 99.9 %';
  return `${text} %`;
}

export interface Measure {
  value: string;
  unit: string;
}

/** A latency in the unit one would say it in. */
export function latency(ms: number | null | undefined): Measure {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return { value: NONE, unit: '' };
  const size = Math.abs(ms);
  if (size < 0.9995) return { value: num(ms * 1e3), unit: '\u00b5s' };
  if (size < 999.5) return { value: num(ms), unit: 'ms' };
  if (size < 120e3) return { value: num(ms / 1e3), unit: 's' };
  if (size < 7200e3) return { value: num(ms / 60e3), unit: 'min' };
  return { value: num(ms / 3600e3), unit: 'h' };
}

/** How ticks of an axis up to `highest` ms are written: all in one unit. */
export function latencyTicks(highest: number): (ms: number) => string {
  const unit = highest < 1.5 ? '\u00b5s' : highest < 1500 ? 'ms' : highest < 300e3 ? 's' : 'min';
  const factor = { '\u00b5s': 1e-3, ms: 1, s: 1e3, min: 60e3 }[unit];
  return (value) => (value === 0 ? '0' : `${num(value / factor)} ${unit}`);
}

/** Two numbers with as many digits as tell them apart. */
export function range(low: number, high: number): [string, string] {
  for (let digits = 3; digits < 6; digits += 1) {
    if (num(low, digits) !== num(high, digits)) return [num(low, digits), num(high, digits)];
  }
  return [num(low), num(high)];
}

export function ms(value: number | null | undefined): string {
  const { value: text, unit } = latency(value);
  return unit ? `${text} ${unit}` : text;
}

export const seconds = (value: number | null | undefined): string =>
  value === null || value === undefined ? NONE : ms(value * 1e3);

/** "989 TFLOP/s": three digits and an SI prefix. */
export function si(value: number, unit: string): string {
  if (!Number.isFinite(value)) return NONE;
  const prefixes = ['', 'k', 'M', 'G', 'T', 'P', 'E'];
  let i = 0;
  let v = Math.abs(value);
  while (v >= 999.5 && i < prefixes.length - 1) {
    v /= 1e3;
    i += 1;
  }
  return `${value < 0 ? '-' : ''}${num(v)} ${prefixes[i]}${unit}`;
}

/** "p99", "p99.9". */
export const percentile = (p: number): string => `p${Number(p.toFixed(4))}`;

/** A word as a shell takes it. */
export function shellWord(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, `'\\''`)}'`;
}

/** The command that ran, to be pasted into a shell. */
export const commandLine = (argv: readonly string[]): string => argv.map(shellWord).join(' ');

export function plural(count: number, one: string): string {
  return `${whole(count)} ${one}${count === 1 ? '' : 's'}`;
}
