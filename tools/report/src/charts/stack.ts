import { type Parts } from '../data';
import { h, s, fitted } from '../dom';
import { latencyTicks, ms, pct } from '../format';
import { drawAxes, frame, linear } from './frame';

export interface Part {
  key: keyof Parts;
  label: string;
  color: string;
}

export const PARTS: readonly Part[] = [
  { key: 'front_end_ms', label: 'front end', color: 'var(--part-front)' },
  { key: 'queue_ms', label: 'queue', color: 'var(--part-queue)' },
  { key: 'prefill_ms', label: 'prefill', color: 'var(--part-prefill)' },
  { key: 'transfer_ms', label: 'KV transfer', color: 'var(--part-transfer)' },
  { key: 'decode_ms', label: 'decode', color: 'var(--part-decode)' },
];

export const total = (row: Parts, parts: readonly Part[]): number => parts.reduce((sum, p) => sum + row[p.key], 0);

export function partLegend(parts: readonly Part[]): HTMLElement {
  return h('div', { class: 'legend' }, ...parts.map((p) => h('span', {}, h('i', { style: `background:${p.color}` }), p.label)));
}

export interface StackRow {
  label: string;
  note: string;
  parts: Parts;
  title: string;
}

/** Rows of parts that add up to a latency, on one scale. */
export function stackChart(rows: readonly StackRow[], parts: readonly Part[], rowHeight: number, title: string): HTMLElement {
  const host = h('div', { class: 'plot' });
  const longest = Math.max(...rows.map((r) => total(r.parts, parts)), 1e-6);
  const labels = Math.max(...rows.map((r) => r.label.length));
  const notes = Math.max(...rows.map((r) => r.note.length));
  fitted(host, (width) => {
    const narrow = width < 560;
    const left = Math.max(48, labels * 6.6 + 14);
    const right = narrow ? 62 : notes * 6.2 + 70;
    const f = frame(width, rows.length * rowHeight + 30, { left, right, top: 2, bottom: 26 }, title);
    const x = linear(0, longest, 0, f.width);
    drawAxes(f, { scale: x, ticks: x.ticks(Math.max(2, Math.floor(f.width / 110))), format: latencyTicks(longest) }, null);
    rows.forEach((row, i) => {
      const top = i * rowHeight + 2;
      const middle = top + (rowHeight - 4) / 2;
      const group = s('g', {}, s('title', {}, row.title));
      let at = 0;
      for (const part of parts) {
        const value = row.parts[part.key];
        if (value <= 0) continue;
        group.append(
          s('rect', { x: x(at), y: top, width: Math.max(0.5, x(value) - x(0)), height: rowHeight - 4, fill: part.color }),
        );
        at += value;
      }
      group.append(
        s('text', { class: 'tick', x: -8, y: middle, dy: '0.32em', 'text-anchor': 'end' }, row.label),
        s('text', { class: 'label', x: x(at) + 6, y: middle, dy: '0.32em' }, ms(total(row.parts, parts))),
      );
      if (!narrow)
        group.append(s('text', { class: 'tick', x: f.width + right - 4, y: middle, dy: '0.32em', 'text-anchor': 'end' }, row.note));
      f.plot.append(group);
    });
    host.replaceChildren(f.svg);
  });
  return host;
}

export const partsText = (row: Parts, parts: readonly Part[]): string => {
  const all = total(row, parts);
  return parts
    .filter((p) => row[p.key] > 0)
    .map((p) => `${p.label} ${ms(row[p.key])} (${pct(row[p.key] / all)})`)
    .join(', ');
};
