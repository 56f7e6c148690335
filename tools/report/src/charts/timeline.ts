import { type Busiest } from '../data';
import { fitted, h } from '../dom';
import { ms, num, plural } from '../format';

const ROW = 22;
const TOP = 24;
const LOAD = 64;
const LEFT = 92;

interface View {
  from: number;
  to: number;
}

const color = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Steps per replica in the busiest window, to zoom and move about in. */
export class Timeline {
  readonly element: HTMLElement;
  private readonly canvas = h('canvas', {
    tabindex: 0,
    role: 'application',
    'aria-label': 'Engine steps of the busiest window. Arrow keys move, plus and minus zoom, Home shows all.',
  });
  private readonly readout = h('p', { class: 'readout', 'aria-live': 'polite' });
  private readonly end: number;
  private view: View;
  private width = 0;
  private pointed = -1;

  constructor(private readonly data: Busiest) {
    this.end = (data.end_s - data.start_s) * 1e6;
    const focus = (data.focus_s - data.start_s) * 1e6;
    const few = data.slices.start_us.length < 60;
    this.view = this.clamped(few ? { from: 0, to: this.end } : { from: focus, to: focus + 1e6 });
    const button = (label: string, text: string, act: () => void): HTMLElement =>
      h('button', { type: 'button', class: 'small', 'aria-label': label, onclick: act }, text);
    const host = h('div', { class: 'plot' }, this.canvas);
    this.element = h(
      'div',
      { class: 'timeline' },
      h(
        'div',
        { class: 'legend' },
        h('span', {}, h('i', { style: 'background:var(--part-decode)' }), 'decode run'),
        h('span', {}, h('i', { style: 'background:var(--part-prefill)' }), 'step with prefill'),
        h('span', { class: 'buttons' }, button('Zoom in', '+', () => this.zoom(0.5)), button('Zoom out', '\u2212', () => this.zoom(2)), button('Show all', 'All', () => this.show({ from: 0, to: this.end }))),
      ),
      host,
      this.readout,
    );
    fitted(host, (width) => {
      this.width = width;
      this.draw();
    });
    this.listen();
    this.describe();
  }

  redraw(): void {
    if (this.width > 0) this.draw();
  }

  private get rows(): number {
    return this.data.rows.length;
  }

  private clamped(view: View): View {
    const span = Math.min(this.end, Math.max(200, view.to - view.from));
    const from = Math.min(Math.max(0, view.from), this.end - span);
    return { from, to: from + span };
  }

  private show(view: View): void {
    this.view = this.clamped(view);
    this.draw();
  }

  private zoom(factor: number, at = (this.view.from + this.view.to) / 2): void {
    this.show({ from: at - (at - this.view.from) * factor, to: at + (this.view.to - at) * factor });
  }

  private pan(share: number): void {
    const by = (this.view.to - this.view.from) * share;
    this.show({ from: this.view.from + by, to: this.view.to + by });
  }

  private x(us: number): number {
    return LEFT + ((us - this.view.from) / (this.view.to - this.view.from)) * (this.width - LEFT);
  }

  private us(pixel: number): number {
    return this.view.from + ((pixel - LEFT) / (this.width - LEFT)) * (this.view.to - this.view.from);
  }

  private draw(): void {
    const height = TOP + this.rows * ROW + LOAD;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    const g = this.canvas.getContext('2d');
    if (!g) return;
    g.scale(ratio, ratio);
    g.clearRect(0, 0, this.width, height);
    g.font = '11px system-ui, sans-serif';
    g.textBaseline = 'middle';
    this.drawTimes(g, height);
    this.drawSlices(g);
    this.drawLoad(g, TOP + this.rows * ROW + 8, LOAD - 12);
  }

  private drawTimes(g: CanvasRenderingContext2D, height: number): void {
    const span = this.view.to - this.view.from;
    const rough = (span * 110) / Math.max(110, this.width - LEFT);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5, 10].find((m) => m * power >= rough) ?? 10);
    g.strokeStyle = color('--line');
    g.fillStyle = color('--muted');
    g.textAlign = 'left';
    for (let t = Math.ceil(this.view.from / step) * step; t <= this.view.to; t += step) {
      const x = this.x(t);
      g.beginPath();
      g.moveTo(x, TOP - 6);
      g.lineTo(x, height);
      g.stroke();
      if (x + 60 < this.width) g.fillText(`${(this.data.start_s + t / 1e6).toFixed(step < 1e3 ? 4 : step < 1e5 ? 3 : 1)} s`, x + 3, 9);
    }
    g.textAlign = 'left';
    this.data.rows.forEach((name, i) => g.fillText(name, 2, TOP + i * ROW + ROW / 2, LEFT - 8));
  }

  private drawSlices(g: CanvasRenderingContext2D): void {
    const c = this.data.slices;
    const prefill = color('--part-prefill');
    const decode = color('--part-decode');
    g.textAlign = 'center';
    for (let i = 0; i < c.start_us.length; i += 1) {
      const start = c.start_us[i] ?? 0;
      const end = start + (c.duration_us[i] ?? 0);
      if (end < this.view.from || start > this.view.to) continue;
      const x = Math.max(LEFT, this.x(start));
      const width = Math.max(0.6, this.x(end) - x - 0.4);
      const y = TOP + (c.row[i] ?? 0) * ROW + 2;
      const tokens = c.prefill_tokens[i] ?? 0;
      g.globalAlpha = i === this.pointed ? 1 : 0.82;
      g.fillStyle = tokens > 0 ? prefill : decode;
      g.fillRect(x, y, width, ROW - 4);
      g.globalAlpha = 1;
      const label = tokens > 0 ? `${num(tokens)} tok` : `${num(c.decode_seqs[i])} \u00d7 ${num(c.steps[i])}`;
      if (width > label.length * 6.2 + 6) {
        g.fillStyle = color('--on-fill');
        g.fillText(label, x + width / 2, y + (ROW - 4) / 2 + 0.5);
      }
    }
  }

  /** Requests in the system, summed over replicas, as the steps began. */
  private drawLoad(g: CanvasRenderingContext2D, top: number, height: number): void {
    const c = this.data.slices;
    const order = c.start_us.map((_, i) => i).sort((a, b) => (c.start_us[a] ?? 0) - (c.start_us[b] ?? 0));
    const draw = (values: number[], name: string, fill: string, most: number): void => {
      const last = new Map<number, number>();
      let sum = 0;
      let y = top + height;
      g.strokeStyle = color(fill);
      g.lineWidth = 1.5;
      g.beginPath();
      g.moveTo(LEFT, y);
      for (const i of order) {
        const row = c.row[i] ?? 0;
        sum += (values[i] ?? 0) - (last.get(row) ?? 0);
        last.set(row, values[i] ?? 0);
        const x = this.x(c.start_us[i] ?? 0);
        if (x > this.width) break;
        const before = y;
        y = top + height - (sum / most) * height;
        if (x <= LEFT) g.moveTo(LEFT, y);
        else {
          g.lineTo(x, before);
          g.lineTo(x, y);
        }
      }
      g.lineTo(this.width, y);
      g.stroke();
      g.lineWidth = 1;
      g.fillStyle = color(fill);
      g.textAlign = 'left';
      g.fillText(name, 2, top + (name === 'running' ? 8 : 22), LEFT - 8);
    };
    const most = Math.max(1, ...c.running.map((r, i) => r + (c.waiting[i] ?? 0))) * Math.max(1, this.rows);
    draw(c.running, 'running', '--series-1', most);
    draw(c.waiting, 'waiting', '--part-queue', most);
  }

  private sliceAt(x: number, y: number): number {
    const c = this.data.slices;
    const row = Math.floor((y - TOP) / ROW);
    const t = this.us(x);
    return c.start_us.findIndex((start, i) => c.row[i] === row && start <= t && start + (c.duration_us[i] ?? 0) >= t);
  }

  private describe(): void {
    const c = this.data.slices;
    const i = this.pointed;
    if (i < 0) {
      const cut = this.data.cut ? ' Only the first steps of each second are kept.' : '';
      this.readout.textContent = `Point at a step for its batch. Drag or use the arrow keys to move, the wheel with Ctrl or + and \u2212 to zoom.${cut}`;
      return;
    }
    const tokens = c.prefill_tokens[i] ?? 0;
    const what =
      tokens > 0
        ? `step with ${num(tokens)} prompt tokens and ${plural(c.decode_seqs[i] ?? 0, 'decoding sequence')}`
        : `${plural(c.steps[i] ?? 0, 'decode step')} of ${plural(c.decode_seqs[i] ?? 0, 'sequence')}`;
    this.readout.textContent =
      `${this.data.rows[c.row[i] ?? 0] ?? ''}: ${what}, ${ms((c.duration_us[i] ?? 0) / 1e3)} from ` +
      `${(this.data.start_s + (c.start_us[i] ?? 0) / 1e6).toFixed(4)} s; running ${num(c.running[i])}, waiting ${num(c.waiting[i])}, KV used ${((c.kv_permille[i] ?? 0) / 10).toFixed(1)} %`;
  }

  private listen(): void {
    let dragged: number | null = null;
    const place = (event: MouseEvent): [number, number] => {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.canvas.addEventListener('pointerdown', (event) => {
      dragged = place(event)[0];
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener('pointerup', () => (dragged = null));
    this.canvas.addEventListener('pointerleave', () => this.point(-1));
    this.canvas.addEventListener('pointermove', (event) => {
      const [x, y] = place(event);
      if (dragged === null) {
        this.point(this.sliceAt(x, y));
        return;
      }
      this.pan((dragged - x) / (this.width - LEFT));
      dragged = x;
    });
    this.canvas.addEventListener(
      'wheel',
      (event) => {
        if (!event.ctrlKey && !event.metaKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
        event.preventDefault();
        if (event.ctrlKey || event.metaKey) this.zoom(Math.exp(event.deltaY * 0.002), this.us(place(event)[0]));
        else this.pan(event.deltaX / (this.width - LEFT));
      },
      { passive: false },
    );
    this.canvas.addEventListener('keydown', (event) => {
      if (event.key === 'ArrowRight') this.pan(0.2);
      else if (event.key === 'ArrowLeft') this.pan(-0.2);
      else if (event.key === '+' || event.key === '=') this.zoom(0.6);
      else if (event.key === '-') this.zoom(1 / 0.6);
      else if (event.key === 'Home') this.show({ from: 0, to: this.end });
      else return;
      event.preventDefault();
    });
  }

  private point(i: number): void {
    if (i === this.pointed) return;
    this.pointed = i;
    this.describe();
    this.draw();
  }
}
