#include "pipeline/report_html.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the UTF-8 character that starts here; 0: none does. Overlong forms and surrogates are none. */
static int utf8_length(const unsigned char *c) {
    int length = c[0] < 0x80                   ? 1
                 : c[0] >= 0xc2 && c[0] < 0xe0 ? 2
                 : c[0] >= 0xe0 && c[0] < 0xf0 ? 3
                 : c[0] >= 0xf0 && c[0] < 0xf5 ? 4
                                               : 0;
    for (int i = 1; i < length; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f)) return 0;
    if ((c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f)) return 0;
    return length;
}

void sg_html_text(FILE *out, const char *text) {
    const unsigned char *c = (const unsigned char *)text;
    while (*c != '\0') {
        int length = utf8_length(c);
        if (*c == '&')
            fputs("&amp;", out);
        else if (*c == '<')
            fputs("&lt;", out);
        else if (*c == '>')
            fputs("&gt;", out);
        else if (*c == '"')
            fputs("&quot;", out);
        else if (*c == '\'')
            fputs("&#39;", out);
        else if (length == 0 || (*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f)
            fputs("&#xFFFD;", out);
        else
            fwrite(c, 1, (size_t)length, out);
        c += length == 0 ? 1 : length;
    }
}

void sg_html_printf(FILE *out, const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0) text = NULL;
    va_end(arguments);
    if (text != NULL) sg_html_text(out, text);
    free(text);
}

void sg_html_url(FILE *out, const char *path) {
    for (const unsigned char *c = (const unsigned char *)path; *c != '\0'; c++)
        if ((*c < 0x80 && isalnum(*c)) || strchr("-_.~/", *c) != NULL)
            fputc(*c, out);
        else
            fprintf(out, "%%%02X", *c);
}

static const char style_sheet[] =
    ":root{color-scheme:light}*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:78rem;padding:1rem;background:#fff;color:#1a1a1a;"
    "font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\n"
    "h1{font-size:1.7rem;margin:.4rem 0}h2{font-size:1.3rem;margin:2.4rem 0 .4rem;border-top:1px solid "
    "#ccc;padding-top:1rem}\n"
    "h3{font-size:1.05rem;margin:1.2rem 0 .3rem}a{color:#004f8a}p{max-width:52rem;margin:.4rem 0}\n"
    "nav a{display:inline-block;margin:0 .9rem .3rem 0}code,pre{font-family:ui-monospace,'DejaVu Sans "
    "Mono',monospace;font-size:.86em}\n"
    "code{overflow-wrap:anywhere}.facts{display:flex;flex-wrap:wrap;gap:.4rem 2rem;margin:.6rem "
    "0;padding:0;list-style:none}\n"
    ".facts "
    "b{font-size:1.2rem}.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,23rem),"
    "1fr));gap:1.2rem}\n"
    "figure{margin:0;break-inside:avoid}figure svg{width:100%;height:auto;display:block}\n"
    "figcaption{font-size:.9rem}figcaption b{display:block;overflow-wrap:anywhere}\n"
    ".box{overflow:auto;max-width:100%;max-height:36rem;border:1px solid "
    "#ccc}table{border-collapse:collapse;font-size:.85rem}\n"
    "th,td{padding:.2rem .55rem;text-align:left;white-space:nowrap;border-bottom:1px solid #e4e4e4}\n"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}th{position:sticky;top:0;background:#"
    "f2f2f2}\n"
    "td.w{white-space:pre-wrap;min-width:16rem;overflow-wrap:anywhere}th "
    "button{all:unset;cursor:pointer;font-weight:600}\n"
    "th button:focus-visible{outline:2px solid #004f8a}th button::after{content:' \\2195';color:#777}\n"
    "th[aria-sort=ascending] button::after{content:' \\2191'}th[aria-sort=descending] "
    "button::after{content:' \\2193'}\n"
    ".verdict{font-size:1.1rem;padding:.5rem .8rem;border-left:4px solid}.won{border-color:#009e73}"
    ".open{border-color:#999}\n"
    ".bad,.fine,.lack{padding:.5rem .8rem;margin:.5rem 0;border-left:4px "
    "solid;max-width:60rem;overflow-wrap:anywhere}\n"
    ".bad{border-color:#d55e00;background:#fdf1ea}.fine{border-color:#009e73;background:#eef8f4}.lack{border-"
    "color:#999;background:#f4f4f4}\n"
    "pre{overflow:auto;max-height:36rem;border:1px solid #ccc;padding:.6rem;margin:.4rem "
    "0}summary{cursor:pointer}\n"
    "@media "
    "print{body{max-width:none;padding:0}nav{display:none}.box,pre{max-height:none;overflow:visible}}\n";

void sg_html_head(FILE *out, const char *title) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"color-scheme\" content=\"light\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
          "'unsafe-inline'; "
          "script-src 'unsafe-inline'\">\n<title>",
          out);
    sg_html_text(out, title);
    fputs("</title>\n<style>\n", out);
    fputs(style_sheet, out);
    fputs("</style>\n</head>\n<body>\n", out);
}

/* Numbers are compared by data-v, which cells of numbers have; empty cells come last either way. */
static const char script[] =
    "document.querySelectorAll('table.sort').forEach(function(t){\n"
    "t.querySelectorAll('thead th').forEach(function(h,i){\n"
    "var "
    "b=document.createElement('button');b.type='button';b.textContent=h.textContent;h.textContent='';h."
    "appendChild(b);\n"
    "b.addEventListener('click',function(){\n"
    "var up=h.getAttribute('aria-sort')!=='ascending',n=h.classList.contains('n'),s=up?1:-1;\n"
    "t.querySelectorAll('th').forEach(function(o){o.removeAttribute('aria-sort')});\n"
    "h.setAttribute('aria-sort',up?'ascending':'descending');\n"
    "var a=Array.from(t.tBodies[0].rows).map(function(r){var c=r.cells[i];\n"
    "return{r:r,k:n?(c.dataset.v===undefined?NaN:+c.dataset.v):c.textContent}});\n"
    "a.sort(function(x,y){if(n){if(isNaN(x.k))return isNaN(y.k)?0:1;if(isNaN(y.k))return-1;return "
    "s*(x.k-y.k)}\n"
    "return s*x.k.localeCompare(y.k)});\n"
    "a.forEach(function(e){t.tBodies[0].appendChild(e.r)})})})});\n";

void sg_html_foot(FILE *out) {
    fputs("<script>\n", out);
    fputs(script, out);
    fputs("</script>\n</body>\n</html>\n", out);
}
