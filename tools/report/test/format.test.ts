import { describe, expect, it } from 'vitest';
import { commandLine, latency, latencyTicks, ms, num, pct, range, shellWord, si } from '../src/format';

describe('do numbers read as people write them?', () => {
  it('keeps three digits and groups thousands', () => {
    expect(num(0.029725)).toBe('0.0297');
    expect(num(6.5536)).toBe('6.55');
    expect(num(13392.88)).toBe('13,393');
    expect(num(0)).toBe('0');
    expect(num(null)).toBe('\u2013');
    expect(num(NaN)).toBe('\u2013');
  });
  it('says a latency in its unit', () => {
    expect(ms(0.5)).toBe('500 \u00b5s');
    expect(ms(999.4)).toBe('999 ms');
    expect(ms(999.6)).toBe('1 s');
    expect(ms(60_000)).toBe('60 s');
    expect(ms(180_000)).toBe('3 min');
    expect(latency(undefined)).toEqual({ value: '\u2013', unit: '' });
  });
  it('writes an axis in one unit', () => {
    const tick = latencyTicks(155_000);
    expect([0, 60_000, 140_000].map(tick)).toEqual(['0', '60 s', '140 s']);
  });
  it('tells shares near none and near all from these', () => {
    expect(pct(0)).toBe('0 %');
    expect(pct(0.0002)).toBe('< 0.1 %');
    expect(pct(0.9999)).toBe('> 99.9 %');
    expect(pct(1)).toBe('100 %');
    expect(pct(0.333)).toBe('33 %');
  });
  it('tells the ends of a narrow interval apart', () => {
    expect(range(215.68, 216.49)).toEqual(['215.7', '216.5']);
    expect(range(5, 5)).toEqual(['5', '5']);
  });
  it('puts SI prefixes', () => {
    expect(si(989e12, 'FLOP/s')).toBe('989 TFLOP/s');
    expect(si(999.7, 'B')).toBe('1 kB');
  });
});

describe('can the command be pasted into a shell?', () => {
  it('quotes what a shell would read otherwise', () => {
    expect(commandLine(['orrery', 'run', '--slo', 'ttft<=500ms@p99'])).toBe("orrery run --slo 'ttft<=500ms@p99'");
    expect(shellWord("it's")).toBe("'it'\\''s'");
    expect(shellWord('')).toBe("''");
  });
});
