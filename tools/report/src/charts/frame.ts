import { scaleLinear, scaleLog, type ScaleContinuousNumeric } from 'd3-scale';
import { s } from '../dom';

export type Scale = ScaleContinuousNumeric<number, number>;

export interface Axis {
  scale: Scale;
  ticks: number[];
  format: (value: number) => string;
  label?: string;
}

export interface Frame {
  svg: SVGSVGElement;
  plot: SVGGElement;
  width: number;
  height: number;
  left: number;
  top: number;
}

/** Ticks of a log axis: powers of ten, with 2 and 5 (or 3) between them where there is room. */
export function logTicks(low: number, high: number, most: number): number[] {
  const decades = Math.log10(high / low);
  const steps = decades * 3 <= most ? [1, 2, 5] : decades * 2 <= most ? [1, 3] : [1];
  const skip = Math.max(1, Math.ceil(decades / most));
  const out: number[] = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
    if (steps.length === 1 && e % skip !== 0) continue;
    for (const step of steps) {
      const tick = step * 10 ** e;
      if (tick >= low * 0.999 && tick <= high * 1.001) out.push(tick);
    }
  }
  return out;
}

export function linear(low: number, high: number, from: number, to: number): Scale {
  return scaleLinear().domain([low, high === low ? low + 1 : high]).range([from, to]);
}

export function log(low: number, high: number, from: number, to: number): Scale {
  const bottom = low > 0 ? low : high > 0 ? high / 1e3 : 1;
  const top = high > bottom * 1.05 ? high : bottom * 1.25;
  return scaleLog().domain([high > bottom * 1.05 ? bottom : bottom / 1.25, top]).range([from, to]);
}

/** An empty chart of `width` x `height` pixels: the plot area begins at (left, top). */
export function frame(
  width: number,
  height: number,
  margins: { left: number; right: number; top: number; bottom: number },
  title: string,
): Frame {
  const plot = s('g', { transform: `translate(${margins.left},${margins.top})` });
  const svg = s(
    'svg',
    { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': title },
    s('title', {}, title),
    plot,
  );
  return {
    svg,
    plot,
    width: width - margins.left - margins.right,
    height: height - margins.top - margins.bottom,
    left: margins.left,
    top: margins.top,
  };
}

export function drawAxes(f: Frame, x: Axis | null, y: Axis | null): void {
  if (y) {
    for (const tick of y.ticks) {
      const at = y.scale(tick);
      f.plot.append(
        s('line', { class: 'grid', x1: 0, x2: f.width, y1: at, y2: at }),
        s('text', { class: 'tick', x: -8, y: at, dy: '0.32em', 'text-anchor': 'end' }, y.format(tick)),
      );
    }
    if (y.label) f.plot.append(s('text', { class: 'axis', x: -f.left + 2, y: -10 }, y.label));
  }
  if (x) {
    for (const tick of x.ticks) {
      const at = x.scale(tick);
      f.plot.append(
        s('line', { class: 'grid', x1: at, x2: at, y1: 0, y2: f.height }),
        s('text', { class: 'tick', x: at, y: f.height + 16, 'text-anchor': 'middle' }, x.format(tick)),
      );
    }
    f.plot.append(s('line', { class: 'base', x1: 0, x2: f.width, y1: f.height, y2: f.height }));
    if (x.label)
      f.plot.append(s('text', { class: 'axis', x: f.width, y: f.height + 32, 'text-anchor': 'end' }, x.label));
  }
}

/** A path through points; gaps where a value is not finite. */
export function path(xs: readonly number[], ys: readonly number[]): string {
  let out = '';
  let pen = 'M';
  xs.forEach((x, i) => {
    const y = ys[i];
    if (y === undefined || !Number.isFinite(x) || !Number.isFinite(y)) {
      pen = 'M';
      return;
    }
    out += `${pen}${x.toFixed(1)},${y.toFixed(1)}`;
    pen = 'L';
  });
  return out;
}

/** Index of the last value at or below `value` in an ascending list. */
export function indexAt(values: readonly number[], value: number): number {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((values[middle] ?? 0) <= value) low = middle;
    else high = middle - 1;
  }
  return Math.max(0, low);
}
