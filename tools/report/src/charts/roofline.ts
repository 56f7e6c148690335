import { type Step, type StepOperator } from '../data';
import { fitted, h, s } from '../dom';
import { num, pct, si } from '../format';
import { drawAxes, frame, log, logTicks, type Frame } from './frame';

export const BOUND_COLOR: Record<StepOperator['bound'], string> = {
  memory: 'var(--series-2)',
  compute: 'var(--series-1)',
  comm: 'var(--series-4)',
  launch: 'var(--series-5)',
};

interface Dot {
  op: StepOperator;
  x: number;
  y: number;
  r: number;
}

/** Names of what takes most time, in the corner that is empty below a roof, each with a line to its dot. */
function drawLabels(f: Frame, dots: readonly Dot[]): void {
  const chosen = [...dots].sort((a, b) => b.op.share - a.op.share).slice(0, 5);
  chosen.sort((a, b) => a.y - b.y || a.x - b.x);
  const texts = chosen.map(({ op }) => `${op.role} ${pct(op.share)}`);
  const elbow = f.width - 26 - 6.3 * Math.max(...texts.map((t) => t.length));
  chosen.forEach(({ x, y }, i) => {
    const text = texts[i] ?? '';
    const at = f.height - 12 - (chosen.length - 1 - i) * 15;
    const left = f.width - 8 - text.length * 6.3;
    f.plot.append(
      s('path', { class: 'leader', d: `M${x},${y}L${elbow},${at}H${left - 4}` }),
      s('text', { class: 'label', x: f.width - 6, y: at, dy: '0.32em', 'text-anchor': 'end' }, text),
    );
  });
}

/** Kernels of one step: FLOP per byte against FLOP/s reached, under the device's roofs. */
export function rooflineChart(step: Step, title: string): HTMLElement {
  const host = h('div', { class: 'plot' });
  const ops = step.operators.filter((op) => op.flops > 0 && op.time_us > 0);
  const rate = (op: StepOperator): number => op.flops / (op.time_us * 1e-6);
  fitted(host, (width) => {
    const f = frame(width, 300, { left: 62, right: 16, top: 22, bottom: 40 }, title);
    const intensities = [...ops.map((op) => op.flop_per_byte), step.ridge_flop_per_byte];
    const x = log(Math.min(...intensities) / 2, Math.max(...intensities) * 4, 0, f.width);
    const [xLow = 1, xHigh = 10] = x.domain();
    const lowest = Math.min(...ops.map(rate), xLow * step.bandwidth_bytes_per_s);
    const y = log(lowest / 1.5, step.peak_flop_per_s * 2, f.height, 0);
    const [yLow = 1, yHigh = 10] = y.domain();
    drawAxes(
      f,
      { scale: x, ticks: logTicks(xLow, xHigh, Math.floor(f.width / 70)), format: (v) => num(v), label: 'FLOP per byte' },
      { scale: y, ticks: logTicks(yLow, yHigh, 6), format: (v) => si(v, ''), label: 'FLOP/s' },
    );
    const ridge = step.peak_flop_per_s / step.bandwidth_bytes_per_s;
    const corner = Math.min(xHigh, Math.max(xLow, ridge));
    const startX = Math.max(xLow, yLow / step.bandwidth_bytes_per_s);
    const peak = y(step.peak_flop_per_s);
    f.plot.append(
      s('path', {
        class: 'roof',
        d: `M${x(startX)},${y(startX * step.bandwidth_bytes_per_s)}L${x(corner)},${peak}L${f.width},${peak}`,
      }),
      s('text', { class: 'axis', x: f.width, y: peak - 6, 'text-anchor': 'end' }, `${si(step.peak_flop_per_s, 'FLOP/s')} ${step.dtype}`),
    );
    const roofX = Math.sqrt(startX * corner);
    const angle = (Math.atan2(peak - y(startX * step.bandwidth_bytes_per_s), x(corner) - x(startX)) * 180) / Math.PI;
    const [tx, ty] = [x(roofX), y(roofX * step.bandwidth_bytes_per_s)];
    f.plot.append(
      s(
        'text',
        { class: 'axis', 'text-anchor': 'middle', transform: `translate(${tx},${ty}) rotate(${angle}) translate(0,-6)` },
        `${si(step.bandwidth_bytes_per_s, 'B/s')}`,
      ),
    );
    const dots = ops.map((op): Dot => ({ op, x: x(op.flop_per_byte), y: y(rate(op)), r: 3 + 13 * Math.sqrt(op.share) }));
    dots.sort((a, b) => b.r - a.r);
    for (const { op, x: cx, y: cy, r } of dots) {
      const text = `${op.role}: ${num(op.flop_per_byte)} FLOP per byte, ${si(rate(op), 'FLOP/s')}, ${pct(op.share)} of the step, ${op.bound}-bound, ${op.provenance}`;
      f.plot.append(s('circle', { class: 'op', cx, cy, r, fill: BOUND_COLOR[op.bound] }, s('title', {}, text)));
    }
    drawLabels(f, dots);
    host.replaceChildren(f.svg);
  });
  return h('figure', {}, h('div', { class: 'legend' }, h('h3', {}, title)), host);
}
