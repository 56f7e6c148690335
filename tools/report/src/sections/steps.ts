import { type Report, type Step, type StepOperator } from '../data';
import { BOUND_COLOR, rooflineChart } from '../charts/roofline';
import { Timeline } from '../charts/timeline';
import { card, fold, h, section, table } from '../dom';
import { ms, num, pct, plural, seconds, si, whole } from '../format';
import { onColours } from '../theme';

function titleOf(step: Step): string {
  const beside = `${plural(step.decode_seqs, 'sequence')} at ${whole(step.context)} tokens`;
  if (step.kind === 'decode') return `Decode step: ${beside}`;
  const past = step.past ? ` after ${whole(step.past)}` : '';
  const decodes = step.decode_seqs > 0 ? `, beside ${beside}` : '';
  return `Prefill step: ${whole(step.prefill_tokens)} prompt tokens${past}${decodes}`;
}

function operatorTable(step: Step): HTMLElement {
  const byTime = [...step.operators].sort((a, b) => b.time_us - a.time_us);
  return table(
    'Operators of the step',
    ['operator', 'calls', 'time', 'share', 'FLOP', 'bytes', 'FLOP/B', 'bound', 'of light', 'time is'],
    byTime.map((op: StepOperator) => [
      op.role,
      whole(op.count),
      ms(op.time_us / 1e3),
      pct(op.share),
      op.flops > 0 ? si(op.flops, '') : '',
      si(op.link_bytes > 0 ? op.link_bytes : op.hbm_bytes, 'B'),
      op.flops > 0 ? num(op.flop_per_byte) : '',
      op.bound,
      pct(op.speed_of_light),
      op.provenance,
    ]),
  );
}

export function rooflineSection(report: Report): HTMLElement | null {
  const steps = report.details?.steps ?? [];
  if (steps.length === 0) return null;
  const bounds = ['memory', 'compute', 'launch', 'comm'] as const;
  const used = bounds.filter((b) => steps.some((step) => step.operators.some((op) => op.bound === b && op.flops > 0)));
  const legend = h('div', { class: 'legend' }, ...used.map((b) => h('span', {}, h('i', { style: `background:${BOUND_COLOR[b]}` }), `${b}-bound`)));
  return section(
    'roofline',
    'Roofline',
    'The kernels of the run\u2019s typical steps against what the device could do at best: a dot\u2019s area is its share of the step.',
    legend,
    h(
      'div',
      { class: 'pair' },
      ...steps.map((step) =>
        card({}, rooflineChart(step, titleOf(step)), h('p', { class: 'muted' }, `${ms(step.total_us / 1e3)} on ${step.gpu}, of it ${ms(step.host_us / 1e3)} on the host, not hidden.`), fold('Operators', operatorTable(step))),
      ),
    ),
  );
}

export function timelineSection(report: Report): HTMLElement | null {
  const busiest = report.details?.busiest;
  if (!busiest || busiest.slices.start_us.length === 0) return null;
  const timeline = new Timeline(busiest);
  onColours(() => timeline.redraw());
  return section(
    'timeline',
    'The busiest moment',
    `Engine steps around ${seconds(busiest.focus_s)}, the second with most requests in the system. timeline.pftrace holds the whole run (orrery timeline open, or ui.perfetto.dev).`,
    card({}, timeline.element),
  );
}
