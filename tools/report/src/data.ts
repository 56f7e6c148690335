/** What `orrery report DIR --json` prints (docs/schema/report.schema.json). All parts may be null: a run that was cut short. */

export type Metric = 'ttft' | 'tpot' | 'itl' | 'e2el';
export const METRICS: readonly Metric[] = ['ttft', 'tpot', 'itl', 'e2el'];
export const METRIC_LABEL: Record<Metric, string> = { ttft: 'TTFT', tpot: 'TPOT', itl: 'ITL', e2el: 'E2E' };
export const METRIC_TITLE: Record<Metric, string> = {
  ttft: 'time to first token',
  tpot: 'time per output token, mean of a request',
  itl: 'gap between consecutive tokens, all pooled',
  e2el: 'from request to last token',
};

export interface SloTerm {
  term: string;
  limit: number;
  value: number | null;
  pass: boolean;
}

export interface Spread {
  mean: number;
  p99: number;
  peak: number;
}

export interface Pool {
  replicas?: number;
  gpus?: number;
  gpu?: string;
  utilisation?: number;
}

/** What one client or one priority class was given. */
export interface Group {
  client?: number;
  priority?: number;
  completed: number;
  failed: number;
  output_tokens: number;
  mean_ttft_ms: number | null;
  p99_ttft_ms: number | null;
  mean_tpot_ms: number | null;
  p99_tpot_ms: number | null;
  mean_slowdown: number | null;
  attainment?: number;
}

export interface Ours {
  setup?: {
    engine?: string;
    gpu?: string;
    workload?: string;
    parallelism?: string;
    replicas?: number;
    gpus_per_replica?: number;
    max_num_seqs?: number;
    kv_capacity_tokens?: number;
  };
  interrupted?: boolean;
  simulated_s?: number;
  unfinished?: number;
  failures?: Record<string, number>;
  attainment?: number | null;
  slo?: { met: boolean; terms: SloTerm[] };
  metrics?: Partial<Record<Metric, { samples: number; exact: boolean; min_ms: number | null; max_ms: number | null }>>;
  ttft_parts_ms?: { front_end: number; queue: number; prefill: number };
  load?: { running: Spread; waiting: Spread; kv_used: Spread; preemptions: number; arrival_rps: number };
  gpu_time?: { decode_s: number; prefill_s: number; idle_s: number }[];
  prefix_cache?: { hit_tokens: number; hit_rate: number };
  stability?: {
    judged: boolean;
    unstable: boolean;
    arrival_rps_per_replica: number;
    served_rps_per_replica: number;
    queue_growth_rps: number;
  };
  confidence?: {
    time_by_kernel_class: Record<string, number>;
    time_by_provenance: Record<string, number>;
    step_time_error: number;
    level: number;
    sources: string[];
  };
  intervals?: Record<string, unknown> & { level?: number; method?: string };
  usd_per_million_output_tokens?: number;
  warnings?: string[];
  pools?: {
    prefill?: Pool;
    decode?: Pool;
    fabric?: string;
    transfers?: { count?: number; bytes?: number; mean_ms?: number; mean_exposed_ms?: number; p99_exposed_ms?: number; mean_blocked_ms?: number };
  };
  fairness?: {
    classes?: Group[];
    clients?: { count: number; worst: Group[]; jain_tokens?: number; jain_slowdown?: number };
  };
  saturation_rps?: number;
  steps?: number;
}

/** Keys of vLLM's bench at the top level, read through `stat`. */
export interface Summary {
  [key: string]: unknown;
  model_id?: string;
  duration?: number;
  completed?: number;
  failed?: number;
  request_throughput?: number;
  request_goodput?: number | null;
  output_throughput?: number;
  total_token_throughput?: number;
  max_output_tokens_per_s?: number;
  orrery?: Ours;
}

export interface Manifest {
  orrery_version?: string;
  argv?: string[];
  seed?: number;
  interrupted?: boolean;
  config?: Record<string, { value: unknown; origin: string }>;
  inputs?: { path: string; bytes: number; sha256: string | null }[];
  notes?: string[];
}

export interface Parts {
  front_end_ms: number;
  queue_ms: number;
  prefill_ms: number;
  transfer_ms: number;
  decode_ms: number;
}

export interface Band extends Parts {
  from: number;
  to: number;
  requests: number;
  min_ms: number;
  max_ms: number;
}

export interface WorstRequest extends Parts {
  id: number;
  arrival_s: number;
  prompt_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  replica: number;
  preemptions: number;
}

export interface StepOperator {
  role: string;
  class: string;
  count: number;
  dtype: string;
  flops: number;
  hbm_bytes: number;
  link_bytes: number;
  flop_per_byte: number;
  bound: 'memory' | 'compute' | 'comm' | 'launch';
  time_us: number;
  share: number;
  speed_of_light: number;
  provenance: string;
}

export interface Step {
  kind: 'decode' | 'prefill';
  operators: StepOperator[];
  total_us: number;
  host_us: number;
  ridge_flop_per_byte: number;
  gpu: string;
  dtype: string;
  peak_flop_per_s: number;
  bandwidth_bytes_per_s: number;
  decode_seqs: number;
  context: number;
  prefill_tokens?: number;
  past?: number;
}

export interface Slices {
  start_us: number[];
  duration_us: number[];
  row: number[];
  steps: number[];
  decode_seqs: number[];
  prefill_tokens: number[];
  running: number[];
  waiting: number[];
  kv_permille: number[];
}

export interface Busiest {
  start_s: number;
  end_s: number;
  focus_s: number;
  cut: boolean;
  rows: string[];
  slices: Slices;
}

export interface Details {
  verdict?: { badge: string; text: string; how: string };
  curves?: { percentiles: number[] } & Partial<Record<`${Metric}_ms`, number[]>>;
  bands?: { ttft: Band[]; e2el: Band[] };
  worst?: { ttft: WorstRequest[]; e2el: WorstRequest[] };
  rates?: { interval_s: number; arrivals_per_s: number[]; completions_per_s: number[] };
  busiest?: Busiest | null;
  steps?: Step[];
}

export interface Report {
  orrery_version?: string;
  missing?: string[];
  summary?: Summary | null;
  manifest?: Manifest | null;
  details?: Details | null;
  timeseries?: Record<string, number[]> | null;
}

/** A number of the summary by its key ("p99_ttft_ms"); undefined when it is absent or not a number. */
export function stat(summary: Summary | null | undefined, key: string): number | undefined {
  const value = summary?.[key];
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** The interval a number is expected in, by the same keys. */
export function interval(ours: Ours | undefined, key: string): [number, number] | undefined {
  const value = ours?.intervals?.[key];
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [low, high] = value as unknown[];
  return typeof low === 'number' && typeof high === 'number' ? [low, high] : undefined;
}

/** Percentiles the summary has of a metric, ascending: [50, 90, 99, 99.9]. */
export function percentilesOf(summary: Summary, metric: Metric): number[] {
  const pattern = new RegExp(`^p([0-9.]+)_${metric}_ms$`);
  const found = Object.keys(summary).flatMap((key) => {
    const match = pattern.exec(key);
    return match ? [Number(match[1])] : [];
  });
  return found.sort((a, b) => a - b);
}

/** Limits of a latency in ms: from terms such as "ttft<=500ms@p99". */
export function limitsOf(ours: Ours | undefined, metric: Metric): { limit: number; text: string; pass: boolean; over: string }[] {
  return (ours?.slo?.terms ?? [])
    .filter((t) => t.term.startsWith(`${metric}<=`) || t.term.startsWith(`${metric}:`))
    .map((t) => ({ limit: t.limit, text: t.term, pass: t.pass, over: t.term.split('@')[1] ?? '' }));
}
