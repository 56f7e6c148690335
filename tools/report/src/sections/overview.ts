import { interval, stat, type Report, type SloTerm, type Summary } from '../data';
import { dial } from '../charts/dial';
import { card, h, section } from '../dom';
import { latency, latencyTicks, num, ms, pct, range, whole, type Measure } from '../format';
import { PROVENANCES, provenanceText } from '../verdict';

interface Reading {
  name: string;
  value: string;
  limit: string;
  reached: number; // shares of the dial's scale
  mark: number;
  remark: string;
}

/** A term of the SLO as its dial shows it. A latency's limit stands in the middle, a share's where it is. */
function readingOf(term: SloTerm): Reading {
  const [left = term.term, over = ''] = term.term.split('@');
  const atLeast = left.includes('>=');
  const what = (left.split(atLeast ? '>=' : '<=')[0] ?? left).trim();
  const value = term.value ?? NaN;
  if (what === 'attainment') {
    return { name: 'Attainment', value: pct(value), limit: `at least ${pct(term.limit)}`, reached: value, mark: term.limit, remark: 'requests that meet every limit' };
  }
  if (atLeast) {
    const reached = value / (2 * term.limit);
    return { name: 'Goodput', value: `${num(value)} req/s`, limit: `at least ${num(term.limit)} req/s`, reached, mark: 0.5, remark: 'requests per second that meet every limit' };
  }
  const ratio = value / term.limit;
  const remark = ratio > 1 ? `${num(ratio, 2)} times the limit` : `${pct(ratio)} of the limit`;
  return { name: `${what.toUpperCase().replace('E2EL', 'E2E')} ${over}`.trim(), value: ms(value), limit: `at most ${ms(term.limit)}`, reached: ratio / 2, mark: 0.5, remark };
}

function dialCard(term: SloTerm): HTMLElement {
  const r = readingOf(term);
  const state = term.pass ? 'pass' : 'fail';
  const label = `${r.name}: ${r.value}, ${r.limit}: ${term.pass ? 'met' : 'missed'}`;
  return card(
    { class: `slo ${state}` },
    h('h3', {}, r.name),
    dial(r.reached, r.mark, state, label),
    h('p', { class: 'reading' }, r.value),
    h('p', { class: 'muted' }, `${r.limit} \u00b7 ${r.remark}`),
    h('p', { class: 'outcome' }, term.pass ? '\u2713 met' : '\u2717 missed'),
  );
}

interface Tile {
  label: string;
  measure: Measure;
  range?: [number, number];
  value?: number;
  ends?: [string, string];
  note?: string;
}

/** Where in its interval a value lies, as a line with a dot. */
function errorBar(value: number, [low, high]: [number, number]): HTMLElement {
  const from = Math.min(low, value);
  const span = Math.max(1e-12, Math.max(high, value) - from);
  const at = (100 * (value - from)) / span;
  return h('div', { class: 'errorbar', 'aria-hidden': true }, h('i', { style: `left:${at.toFixed(1)}%` }));
}

function tile(t: Tile, shares: Record<string, number> | undefined, level: number | undefined): HTMLElement {
  const sure = t.ends ? `${pct(level)} interval ${t.ends[0]} to ${t.ends[1]}` : '';
  const from = provenanceText(shares);
  const provenance = from && t.range ? `Kernel times behind it: ${from}.` : '';
  return card(
    { class: 'tile', tabindex: t.range ? 0 : undefined },
    h('h3', {}, t.label),
    h('p', { class: 'value' }, t.measure.value, h('small', {}, t.measure.unit ? ` ${t.measure.unit}` : '')),
    t.range && t.value !== undefined ? errorBar(t.value, t.range) : null,
    h('p', { class: 'muted' }, t.ends ? t.ends.join(' \u2013 ') : (t.note ?? '')),
    sure ? h('div', { class: 'tip', role: 'tooltip' }, h('b', {}, sure), h('br'), provenance, provenanceBar(shares)) : null,
  );
}

export function provenanceBar(shares: Record<string, number> | undefined): HTMLElement | null {
  if (!shares) return null;
  return h(
    'div',
    { class: 'provenance', role: 'img', 'aria-label': provenanceText(shares) },
    ...PROVENANCES.map((p) => h('i', { class: p, style: `width:${(100 * (shares[p] ?? 0)).toFixed(2)}%`, title: `${p} ${pct(shares[p])}` })),
  );
}

function tiles(summary: Summary): Tile[] {
  const ours = summary.orrery;
  const out: Tile[] = [];
  const timeTile = (label: string, key: string): void => {
    const value = stat(summary, key);
    const sure = interval(ours, key);
    const ends = latencyTicks(value ?? 0);
    if (value !== undefined) out.push({ label, measure: latency(value), value, range: sure, ends: sure && [ends(sure[0]), ends(sure[1])] });
  };
  const rateTile = (label: string, key: string, unit: string, note?: string): void => {
    const value = stat(summary, key);
    const sure = interval(ours, key);
    if (value !== undefined) out.push({ label, measure: { value: num(value), unit }, value, range: sure, ends: sure && range(...sure), note });
  };
  timeTile('TTFT p99', 'p99_ttft_ms');
  timeTile('TPOT p99', 'p99_tpot_ms');
  timeTile('E2E mean', 'mean_e2el_ms');
  rateTile('Throughput', 'request_throughput', 'req/s');
  rateTile('Output', 'output_throughput', 'tok/s');
  if (ours?.attainment !== undefined && ours.attainment !== null) {
    rateTile('Goodput', 'request_goodput', 'req/s', `${pct(ours.attainment)} of requests`);
  }
  if (ours?.saturation_rps && !summary['max_concurrency']) {
    const used = (ours.load?.arrival_rps ?? 0) / ours.saturation_rps;
    out.push({ label: 'Saturates near', measure: { value: num(ours.saturation_rps), unit: 'req/s' }, note: used > 0 ? `load is ${pct(used)} of it` : '' });
  }
  if (ours?.usd_per_million_output_tokens !== undefined) {
    out.push({ label: 'Cost', measure: { value: `$${num(ours.usd_per_million_output_tokens)}`, unit: 'per 1M output tokens' } });
  }
  if (ours?.prefix_cache && ours.prefix_cache.hit_tokens > 0) {
    out.push({ label: 'Prefix cache', measure: { value: pct(ours.prefix_cache.hit_rate), unit: 'of prompt tokens' }, note: `${whole(ours.prefix_cache.hit_tokens)} not computed again` });
  }
  return out;
}

export function overview(report: Report): HTMLElement | null {
  const summary = report.summary;
  if (!summary) return null;
  const ours = summary.orrery;
  const terms = ours?.slo?.terms ?? [];
  const shares = ours?.confidence?.time_by_provenance;
  const kpis = h('div', { class: 'tiles' }, ...tiles(summary).map((t) => tile(t, shares, ours?.intervals?.level)));
  if (terms.length === 0) {
    return section('promises', 'Headline numbers', 'No SLO was set (--slo): there is nothing to pass or miss.', kpis);
  }
  return section('promises', 'What was promised', null, h('div', { class: 'dials' }, ...terms.map(dialCard)), kpis);
}
