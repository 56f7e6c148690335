import { defineConfig, type Plugin } from 'vite';

/** Puts script and style into the page: it must work from file:// and as an attachment. */
function oneFile(): Plugin {
  return {
    name: 'one-file',
    enforce: 'post',
    generateBundle(_, bundle) {
      const page = bundle['index.html'];
      if (page?.type !== 'asset') throw new Error('no page was built');
      let html = String(page.source);
      for (const [name, file] of Object.entries(bundle)) {
        if (file.type === 'chunk') {
          const code = file.code.trim().replace(/<\/(script)/gi, '<\\/$1').replace(/<!--/g, '<\\!--');
          html = html.replace(/\s*<script type="module"[^>]*><\/script>/, '');
          html = html.replace('</body>', () => `<script type="module">${code}</script>\n</body>`);
          delete bundle[name];
        } else if (name.endsWith('.css')) {
          const css = String(file.source).trim();
          html = html.replace(/<link rel="stylesheet"[^>]*>/, () => `<style>${css}</style>`);
          delete bundle[name];
        }
      }
      // Plain ASCII: the page is compiled into a program as string literals.
      page.source = html.replace(/[^\x00-\x7f]/g, (c) => {
        throw new Error(`the page holds ${c}, which is not ASCII`);
      });
      page.fileName = 'report.html';
    },
  };
}

export default defineConfig({
  base: './',
  plugins: [oneFile()],
  esbuild: { charset: 'ascii', legalComments: 'none' },
  build: {
    target: 'es2020',
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 1 << 20,
    reportCompressedSize: false,
    emptyOutDir: true,
  },
});
