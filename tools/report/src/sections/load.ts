import { type Report } from '../data';
import { Cursor } from '../charts/cursor';
import { timeChart, type TimeChart } from '../charts/series';
import { card, csvButton, h, section } from '../dom';
import { num, pct, whole } from '../format';

function charts(report: Report): TimeChart[] {
  const t = report.timeseries ?? {};
  const times = t['t_s'] ?? [];
  const out: TimeChart[] = [];
  const slots = report.summary?.orrery?.setup?.max_num_seqs;
  const replicas = report.summary?.orrery?.setup?.replicas ?? 1;
  const column = (name: string): number[] => t[name] ?? [];
  if (times.length > 1) {
    out.push({
      title: 'Requests in the system',
      unit: 'requests, all replicas',
      times,
      series: [
        { label: 'running', values: column('running'), color: 'var(--series-1)', fill: true },
        { label: 'waiting', values: column('waiting'), color: 'var(--part-queue)', fill: true },
      ],
      limit: slots ? { value: slots * replicas, label: `max_num_seqs ${whole(slots * replicas)}` } : undefined,
    });
  }
  const rates = report.details?.rates;
  if (rates && rates.arrivals_per_s.length > 1) {
    out.push({
      title: 'Arrivals against completions',
      unit: 'requests per second',
      times: rates.arrivals_per_s.map((_, i) => i * rates.interval_s),
      series: [
        { label: 'arrive', values: rates.arrivals_per_s, color: 'var(--part-queue)' },
        { label: 'are done', values: rates.completions_per_s, color: 'var(--series-3)' },
      ],
    });
  }
  if (times.length > 1) {
    out.push(
      {
        title: 'KV cache',
        unit: '% of blocks, mean of replicas',
        times,
        top: 100,
        series: [{ label: 'used', values: column('kv_used_pct'), color: 'var(--series-4)', fill: true }],
      },
      {
        title: 'Tokens',
        unit: 'tokens per second',
        times,
        series: [
          { label: 'prompt', values: column('prompt_tok_s'), color: 'var(--part-prefill)' },
          { label: 'output', values: column('gen_tok_s'), color: 'var(--part-decode)' },
        ],
      },
    );
  }
  return out;
}

/** GPU time of each replica as a bar of decode, prefill and idle. */
function gpuTime(report: Report): HTMLElement | null {
  const replicas = report.summary?.orrery?.gpu_time ?? [];
  if (replicas.length === 0) return null;
  const kinds = [
    ['decode', 'decode_s', 'var(--part-decode)'],
    ['with prefill', 'prefill_s', 'var(--part-prefill)'],
    ['idle', 'idle_s', 'var(--idle)'],
  ] as const;
  const rows = replicas.slice(0, 16).map((one, i) => {
    const all = one.decode_s + one.prefill_s + one.idle_s || 1;
    const text = kinds.map(([label, key]) => `${label} ${pct(one[key] / all)}`).join(', ');
    return h(
      'div',
      { class: 'gpu', title: text },
      h('span', {}, replicas.length > 1 ? `replica ${i}` : 'GPU time'),
      h('div', { class: 'bar100', role: 'img', 'aria-label': text }, ...kinds.map(([, key, color]) => h('i', { style: `width:${((100 * one[key]) / all).toFixed(2)}%;background:${color}` }))),
      h('span', { class: 'muted' }, text),
    );
  });
  const more = replicas.length > 16 ? h('p', { class: 'muted' }, `and ${whole(replicas.length - 16)} replicas more (summary.json)`) : null;
  return card({}, h('div', { class: 'legend' }, h('h3', {}, 'What GPUs did'), ...kinds.map(([label, , color]) => h('span', {}, h('i', { style: `background:${color}` }), label))), ...rows, more);
}

export function loadSection(report: Report): HTMLElement | null {
  const all = charts(report);
  const gpu = gpuTime(report);
  if (all.length === 0 && !gpu) return null;
  const cursor = new Cursor();
  const load = report.summary?.orrery?.load;
  const lead = load
    ? `Mean over replicas: running ${num(load.running.mean)} (peak ${whole(load.running.peak)}), waiting ${num(load.waiting.mean)} (peak ${whole(load.waiting.peak)}), KV used ${pct(load.kv_used.mean)} (peak ${pct(load.kv_used.peak)}). Preemptions: ${whole(load.preemptions)}.`
    : null;
  const columns = (): Record<string, readonly number[]> => report.timeseries ?? {};
  return section(
    'load',
    'Load over time',
    lead,
    all.length > 0 ? h('div', { class: 'tools' }, csvButton('load-over-time', columns)) : null,
    all.length > 0 ? card({ class: 'linked' }, ...all.map((c) => timeChart(c, cursor))) : null,
    gpu,
  );
}
