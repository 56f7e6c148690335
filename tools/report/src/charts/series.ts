import { area, line } from 'd3-shape';
import { fitted, h, s } from '../dom';
import { num, seconds } from '../format';
import { steer, type Cursor } from './cursor';
import { drawAxes, frame, indexAt, linear, type Axis } from './frame';

export interface Series {
  label: string;
  values: readonly number[];
  color: string;
  fill?: boolean;
}

export interface TimeChart {
  title: string;
  unit: string;
  times: readonly number[];
  series: Series[];
  top?: number;
  limit?: { value: number; label: string };
}

/** Times in whole units: seconds, minutes or hours. */
function timeAxis(times: readonly number[], width: number): Axis {
  const end = times[times.length - 1] ?? 1;
  const scale = linear(times[0] ?? 0, end, 0, width);
  const [unit, name] = end > 3 * 3600 ? [3600, 'h'] : end > 180 ? [60, 'min'] : [1, 's'];
  const inUnits = linear((times[0] ?? 0) / unit, end / unit, 0, width);
  const ticks = inUnits.ticks(Math.max(3, Math.floor(width / 90))).map((t) => t * unit);
  return { scale, ticks, format: (t) => `${num(t / unit)} ${name}` };
}

/** Values over time. The cursor is shared with other charts of the same run; the legend shows what it points at. */
export function timeChart(chart: TimeChart, cursor: Cursor): HTMLElement {
  const readouts = chart.series.map(() => h('b', {}));
  const when = h('span', { class: 'when' });
  const legend = h(
    'div',
    { class: 'legend' },
    h('h3', {}, chart.title),
    ...chart.series.map((one, i) =>
      h('span', {}, h('i', { style: `background:${one.color}` }), `${one.label} `, readouts[i]),
    ),
    when,
  );
  const host = h('div', { class: 'plot' });
  const figure = h('figure', { class: 'time' }, legend, host);
  let show: (at: number | null) => void = () => undefined;
  cursor.follow((at) => show(at));
  fitted(host, (width) => {
    const f = frame(width, 150, { left: 52, right: 12, top: 8, bottom: 24 }, `${chart.title} over time, ${chart.unit}`);
    const highest = Math.max(...chart.series.flatMap((one) => one.values), 0);
    const y = linear(0, chart.top ?? (highest > 0 ? highest * 1.05 : 1), f.height, 0);
    const x = timeAxis(chart.times, f.width);
    drawAxes(f, x, { scale: y, ticks: y.ticks(4), format: (v) => num(v) });
    const xs = chart.times.map((t) => x.scale(t));
    for (const one of chart.series) {
      const points = one.values.map((v, i): [number, number] => [xs[i] ?? 0, y(v)]);
      if (one.fill)
        f.plot.append(s('path', { d: area().y0(f.height)(points) ?? '', fill: one.color, 'fill-opacity': 0.18 }));
      f.plot.append(s('path', { class: 'line', d: line()(points) ?? '', stroke: one.color }));
    }
    if (chart.limit && chart.limit.value <= (y.domain()[1] ?? 0)) {
      const at = y(chart.limit.value);
      f.plot.append(
        s('line', { class: 'limit', x1: 0, x2: f.width, y1: at, y2: at }),
        s('text', { class: 'limit', x: f.width - 4, y: at + 13, 'text-anchor': 'end' }, chart.limit.label),
      );
    }
    const rule = s('line', { class: 'cursor', y1: 0, y2: f.height, visibility: 'hidden' });
    const dots = chart.series.map((one) => s('circle', { r: 3.5, fill: one.color, visibility: 'hidden' }));
    f.plot.append(rule, ...dots);
    show = (at) => {
      const i = at === null ? -1 : indexAt(chart.times, at);
      const visibility = i < 0 ? 'hidden' : 'visible';
      const px = xs[i] ?? 0;
      for (const mark of [rule, ...dots]) mark.setAttribute('visibility', visibility);
      rule.setAttribute('x1', String(px));
      rule.setAttribute('x2', String(px));
      chart.series.forEach((one, k) => {
        dots[k]?.setAttribute('cx', String(px));
        dots[k]?.setAttribute('cy', String(y(one.values[i] ?? 0)));
        const text = readouts[k];
        if (text) text.textContent = i < 0 ? '' : num(one.values[i]);
      });
      when.textContent = i < 0 ? chart.unit : `${chart.unit} at ${seconds(chart.times[i])}`;
    };
    show(cursor.position);
    steer(
      f.svg,
      f.left,
      chart.times.length,
      (pixel) => indexAt(xs, pixel),
      (i) => cursor.move(i === null ? null : (chart.times[i] ?? null)),
    );
    host.replaceChildren(f.svg);
  });
  return figure;
}
