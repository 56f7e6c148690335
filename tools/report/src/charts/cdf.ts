import { fitted, h, s } from '../dom';
import { ms, percentile } from '../format';
import { steer } from './cursor';
import { drawAxes, frame, indexAt, linear, log, logTicks, path, type Scale } from './frame';

export interface Cdf {
  title: string;
  subtitle: string;
  percentiles: readonly number[];
  values: readonly number[];
  limits: readonly { limit: number; text: string; pass: boolean; over: string }[];
}

export type CdfView = 'all' | 'tail';

/** Percentiles evenly, or by nines: p90, p99 and p99.9 equally far apart. */
function levels(view: CdfView, height: number): { of: (p: number) => number; ticks: number[]; scale: Scale } {
  if (view === 'all') {
    const scale = linear(0, 100, height, 0);
    return { of: (p) => scale(p), ticks: [0, 25, 50, 75, 90, 100], scale };
  }
  const nines = (p: number): number => -Math.log10(Math.max(1e-4, 1 - p / 100));
  const scale = linear(nines(50), 4, height, 0);
  return { of: (p) => scale(nines(Math.max(50, p))), ticks: [50, 90, 99, 99.9, 99.99], scale };
}

/** How a latency is distributed, against its limits. */
export function cdfChart(cdf: Cdf, view: CdfView): HTMLElement {
  const readout = h('span', { class: 'when' }, '');
  const host = h('div', { class: 'plot' });
  const figure = h(
    'figure',
    { class: 'cdf' },
    h('div', { class: 'legend' }, h('h3', {}, cdf.title), h('span', { class: 'muted' }, cdf.subtitle), readout),
    host,
  );
  const from = view === 'tail' ? indexAt(cdf.percentiles, 50) : 0;
  const ps = cdf.percentiles.slice(from);
  const values = cdf.values.slice(from);
  fitted(host, (width) => {
    const f = frame(width, 220, { left: 52, right: 18, top: 18, bottom: 26 }, `${cdf.title}: share of samples up to a latency`);
    const ends = [...values, ...cdf.limits.map((l) => l.limit)].filter((v) => v > 0);
    const x = log(Math.min(...ends), Math.max(...ends), 0, f.width);
    const y = levels(view, f.height);
    const [low = 1, high = 10] = x.domain();
    const ticks = logTicks(low, high, Math.max(3, Math.floor(f.width / 62)));
    drawAxes(f, { scale: x, ticks: ticks.length > 1 ? ticks : x.ticks(4), format: (v) => ms(v) }, null);
    for (const p of y.ticks) {
      f.plot.append(
        s('line', { class: 'grid', x1: 0, x2: f.width, y1: y.of(p), y2: y.of(p) }),
        s('text', { class: 'tick', x: -8, y: y.of(p), dy: '0.32em', 'text-anchor': 'end' }, percentile(p)),
      );
    }
    for (const l of cdf.limits) {
      const at = x(l.limit);
      const right = at > f.width * 0.6;
      const over = Number(/^p([0-9.]+)$/.exec(l.over)?.[1]);
      f.plot.append(
        s('line', { class: `limit ${l.pass ? 'pass' : 'fail'}`, x1: at, x2: at, y1: 0, y2: f.height }),
        s(
          'text',
          { class: `limit ${l.pass ? 'pass' : 'fail'}`, x: at + (right ? -5 : 5), y: -6, 'text-anchor': right ? 'end' : 'start' },
          `SLO ${ms(l.limit)}${l.over ? ` at ${l.over}` : ''}`,
        ),
      );
      if (over) f.plot.append(s('circle', { class: `target ${l.pass ? 'pass' : 'fail'}`, cx: at, cy: y.of(over), r: 4 }));
    }
    const xs = values.map((v) => x(v > 0 ? v : low));
    const shown = ps.map((p) => y.of(p));
    f.plot.append(s('path', { class: 'line', d: path(xs, shown), stroke: 'var(--series-1)' }));
    const dot = s('circle', { r: 4, fill: 'var(--series-1)', visibility: 'hidden' });
    f.plot.append(dot);
    steer(
      f.svg,
      f.left,
      ps.length,
      (pixel) => indexAt(xs, pixel),
      (i) => {
        dot.setAttribute('visibility', i === null ? 'hidden' : 'visible');
        readout.textContent = i === null ? '' : `${percentile(ps[i] ?? 0)} ${ms(values[i])}`;
        if (i === null) return;
        dot.setAttribute('cx', String(xs[i] ?? 0));
        dot.setAttribute('cy', String(shown[i] ?? 0));
      },
    );
    host.replaceChildren(f.svg);
  });
  return figure;
}
