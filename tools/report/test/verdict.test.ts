import { describe, expect, it } from 'vitest';
import { limitsOf, percentilesOf, type Ours, type Summary } from '../src/data';
import { logTicks } from '../src/charts/frame';
import { limits, verdictOf } from '../src/verdict';

const spread = (p99: number) => ({ mean: p99 / 2, p99, peak: p99 });
const summary = (orrery: Ours): Summary => ({ mean_ttft_ms: 100, orrery });

describe('is what limits a run named by the number it rests on?', () => {
  it('names a full cache and its preemptions', () => {
    const load = { running: spread(10), waiting: spread(3), kv_used: spread(0.99), preemptions: 406, arrival_rps: 1 };
    expect(limits(summary({ load })).join(' ')).toContain('99 % used at p99 and 406 preemptions');
  });
  it('names slots that are all taken', () => {
    const load = { running: spread(64), waiting: spread(3), kv_used: spread(0.1), preemptions: 0, arrival_rps: 1 };
    expect(limits(summary({ load, setup: { max_num_seqs: 64 } })).join(' ')).toContain('All 64 slots');
    expect(limits(summary({ load, setup: { max_num_seqs: 128 } }))).toEqual([]);
  });
  it('names queueing where it is most of TTFT', () => {
    expect(limits(summary({ ttft_parts_ms: { front_end: 4, queue: 90, prefill: 6 } })).join(' ')).toContain('90 %');
    expect(limits(summary({ ttft_parts_ms: { front_end: 4, queue: 30, prefill: 66 } }))).toEqual([]);
  });
  it('says nothing of what it does not know', () => {
    expect(limits({})).toEqual([]);
  });
});

describe('is there a verdict whatever is missing?', () => {
  it('repeats what the program said', () => {
    const told = { badge: 'PASS', text: 'it serves', how: '' };
    expect(verdictOf({ details: { verdict: told } })).toEqual(told);
  });
  it('judges by the SLO where the program did not', () => {
    expect(verdictOf({ summary: summary({ slo: { met: false, terms: [] } }) }).badge).toBe('FAIL');
    expect(verdictOf({ summary: summary({}) }).badge).toBe('');
  });
  it('says that there is none', () => {
    expect(verdictOf({}).badge).toBe('INCOMPLETE');
  });
});

describe('are keys of the summary understood?', () => {
  it('finds percentiles in order', () => {
    expect(percentilesOf({ 'p99.9_ttft_ms': 1, p50_ttft_ms: 1, p99_tpot_ms: 1 }, 'ttft')).toEqual([50, 99.9]);
  });
  it('finds the limits of a latency', () => {
    const terms = [
      { term: 'ttft<=500ms@p99', limit: 500, value: 600, pass: false },
      { term: 'attainment>=0.95', limit: 0.95, value: 1, pass: true },
    ];
    expect(limitsOf({ slo: { met: false, terms } }, 'ttft')).toEqual([{ limit: 500, text: 'ttft<=500ms@p99', pass: false, over: 'p99' }]);
  });
});

describe('do ticks of a log axis lie within it?', () => {
  it('has 1, 2 and 5 where there is room, decades where there is not', () => {
    expect(logTicks(10, 100, 6)).toEqual([10, 20, 50, 100]);
    expect(logTicks(1, 1e6, 7)).toEqual([1, 10, 100, 1e3, 1e4, 1e5, 1e6]);
  });
});
