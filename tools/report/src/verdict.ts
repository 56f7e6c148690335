import { stat, type Report, type Summary } from './data';
import { num, pct, plural, seconds, whole } from './format';

export type Badge = 'PASS' | 'FAIL' | 'UNSTABLE' | 'INCOMPLETE' | '';

export interface Verdict {
  badge: Badge;
  text: string;
  how: string;
}

/** The program's own verdict; where the run did not live to write one, what can be said without it. */
export function verdictOf(report: Report): Verdict {
  const told = report.details?.verdict;
  if (told) return { badge: told.badge as Badge, text: told.text, how: told.how };
  const summary = report.summary;
  if (!summary) return { badge: 'INCOMPLETE', text: 'This run has written no summary', how: '' };
  const ours = summary.orrery;
  const how = `${num(summary.request_throughput)} req/s, ${plural(summary.completed ?? 0, 'request')}`;
  const where = ours?.setup?.gpu ?? 'The cluster';
  const what = ours?.setup?.workload ?? 'the workload';
  if (ours?.stability?.unstable) return { badge: 'UNSTABLE', text: `${where} cannot keep up with ${what}`, how };
  if (ours?.slo?.met === false) return { badge: 'FAIL', text: `${where} misses the SLO on ${what}`, how };
  const judged = (ours?.slo?.terms.length ?? 0) > 0;
  return { badge: judged ? 'PASS' : '', text: `${where} serves ${what}`, how };
}

const KERNELS: Record<string, string> = {
  gemm: 'matrix products',
  attention_decode: 'attention of decoding sequences',
  attention_prefill: 'attention over prompts',
  grouped_gemm: 'expert matrix products',
  host: 'the host between steps',
  all_reduce_custom: 'all-reduces (custom kernel)',
  all_reduce_nccl: 'all-reduces (NCCL)',
  kv_write: 'KV writes',
  lm_head: 'LM head',
  norm: 'norms',
};
export const kernelName = (cls: string): string => KERNELS[cls] ?? cls.replace(/_/g, ' ');

/** What limits the run, in sentences; each says the number it rests on. */
export function limits(summary: Summary): string[] {
  const ours = summary.orrery ?? {};
  const out: string[] = [];
  const load = ours.load;
  const setup = ours.setup ?? {};
  if (ours.stability?.unstable) {
    out.push(`The queue grows by ${num(ours.stability.queue_growth_rps)} requests every second while requests arrive.`);
  }
  if (load && load.kv_used.p99 >= 0.95) {
    const preempted = load.preemptions > 0 ? ` and ${plural(load.preemptions, 'preemption')}` : '';
    out.push(`The KV cache is full: ${pct(load.kv_used.p99)} used at p99${preempted}.`);
  }
  if (load && setup.max_num_seqs && load.running.p99 >= 0.99 * setup.max_num_seqs) {
    out.push(`All ${whole(setup.max_num_seqs)} slots of max_num_seqs are taken at p99.`);
  }
  const parts = ours.ttft_parts_ms;
  const ttft = stat(summary, 'mean_ttft_ms');
  if (parts && ttft && parts.queue / ttft >= 0.5) {
    out.push(`${pct(parts.queue / ttft)} of the mean TTFT is queueing (${seconds(parts.queue / 1e3)}).`);
  }
  const time = ours.gpu_time ?? [];
  const sum = (key: 'decode_s' | 'prefill_s' | 'idle_s'): number => time.reduce((all, one) => all + one[key], 0);
  const total = sum('decode_s') + sum('prefill_s') + sum('idle_s');
  if (total > 0) {
    out.push(
      `GPUs spend ${pct(sum('prefill_s') / total)} of the time in steps with prompts, ` +
        `${pct(sum('decode_s') / total)} in steps that only decode, and idle ${pct(sum('idle_s') / total)}.`,
    );
  }
  const classes = Object.entries(ours.confidence?.time_by_kernel_class ?? {}).sort((a, b) => b[1] - a[1]);
  const first = classes[0];
  if (first) {
    const name = kernelName(first[0]);
    out.push(`${name.charAt(0).toUpperCase()}${name.slice(1)} take ${pct(first[1])} of the step time.`);
  }
  return out;
}

/** How the measured-ness of kernel times reads: "92 % interpolated, 8 % extrapolated". */
export function provenanceText(shares: Record<string, number> | undefined): string {
  return PROVENANCES.filter((p) => (shares?.[p] ?? 0) >= 0.0005)
    .map((p) => `${pct(shares?.[p])} ${p}`)
    .join(', ');
}
export const PROVENANCES = ['measured', 'interpolated', 'extrapolated', 'analytic'] as const;
