#!/bin/bash
# The report of a small run: what is written, that the page is well formed, and how it looks without gnuplot.
. "$(dirname "$0")/../testing.sh"
dir=$work/run page=$work/run/report/index.html

cat >"$work/run.cfg" <<'END'
net = { arch = "mlp"; classes = 10; width = 16; };
data = { kind = "shapes"; train_limit = 64; test_limit = 32; };
train = { lr = 0.05; batch = 32; };
search = { methods = ("lrr", "aws"); warmup_epochs = 1; rounds = 2; round_epochs = 1; prune_fraction = 0.5; };
transfer = { modes = ("signed", "dense"); seeds = (2, 3); rounds = (1, 2); epochs = 2; noise_orders = 0; };
connect = { points = 3; pairs = ("signed-search", "signed-signed"); };
END

sg 1 run "$work/run.cfg" --out "$dir"
expect_code "report: the run ends" 0
expect "report: run writes the page" "no $page" [ -s "$page" ]
if [ ! -s "$page" ]; then finish; fi
expect_text "report: run says where the page is" "$work/out" 'report/index.html'
expect "report: no temporary name is left" "$(find "$dir" -name '*.tmp')" [ -z "$(find "$dir" -name '*.tmp')" ]
expect "report: the page is below 5 MB" "$(wc -c <"$page") bytes" [ "$(wc -c <"$page")" -lt 5000000 ]
for plot in accuracy-1-signed accuracy-1-search barrier-1-signed-search barrier-1-signed-signed training-1-search \
    training-1-transfer-aws cost-1-speed cost-1-wall; do
    expect "report: $plot is on the page" "no such id" grep -q "id=\"$plot\"" "$page"
    expect "report: $plot has its CSV" "no report/$plot.csv" grep -q '^series,' "$dir/report/$plot.csv"
done
expect "report: paths have plots" "no path-1-signed-signed" grep -q 'id="path-1-signed-signed-' "$page"
expect "report: an experiment that was not run is named" "search.alpha is not" grep -q 'set search.alpha to a list of ranges' "$page"
expect "report: the page is named for the run" "$(grep -o '<title>[^<]*' "$page")" grep -q '<title>Signet: run</title>' "$page"
expect "report: links lead to result files" "$(grep -o '\.\./stages/[^"]*' "$page" | head -1)" \
    [ -s "$dir/report/$(grep -o '\.\./stages/[^"]*' "$page" | head -1)" ]
expect "report: the configuration is on the page" "prune_fraction is not" grep -q prune_fraction "$page"

cat >"$work/check.py" <<'END'
import html.parser, sys

VOID = {"meta", "br", "img", "hr", "input", "link"}

class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.wrong = [], set(), []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                if value in self.ids:
                    self.wrong.append("id %s twice" % value)
                self.ids.add(value)
            if name in ("src", "href", "xlink:href") and "//" in (value or ""):
                self.wrong.append("%s leads away: %s" % (tag, value))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append("</%s> at line %d closes nothing" % (tag, self.getpos()[0]))

page = Page()
page.feed(open(sys.argv[1], encoding="utf-8").read())
page.close()
page.wrong += ["<%s> is left open" % tag for tag in page.open]
print("; ".join(page.wrong[:5]))
sys.exit(bool(page.wrong))
END
expect_equal "report: the page is well formed" "$("$python" "$work/check.py" "$page" 2>&1)" ""
if command -v gnuplot >/dev/null; then
    expect "report: every figure has its plot" "$(grep -c '<svg' "$page") plots of $(grep -c '<figure' "$page")" \
        [ "$(grep -c '<svg' "$page")" = "$(grep -c '<figure' "$page")" ]
fi

# A gnuplot that only fails: the page is there all the same.
mkdir "$work/bin"
printf '#!/bin/sh\nexit 3\n' >"$work/bin/gnuplot"
chmod +x "$work/bin/gnuplot"
rm -rf "$dir/report"
PATH=$work/bin:$PATH sg 1 collect "$dir"
expect_code "report: collect does without a working gnuplot" 0
expect "report: the page says what is wrong with gnuplot" "no word of it" grep -q 'gnuplot ended with exit code 3' "$page"
expect "report: the page says what to install" "no word of it" grep -q 'apt install gnuplot-nox' "$page"
expect "report: the page has tables without plots" "no table of runs" grep -q '<h2 id="runs">' "$page"

# A stage that failed: its message is text, whatever it holds.
stage=$(find "$dir/stages" -path '*connect*' -name result.h5 | sort | head -1)
key=$("$signet" inspect "$stage" | sed -n 's|^ *key: ||p')
rm -f "$stage"
printf '%s\n<b>diverged</b> & gone\n' "$key" >"$(dirname "$stage")/failed"
PATH=$work/bin:$PATH sg 1 collect "$dir"
expect "report: a missing stage is listed" "$(grep -o 'Stages that are not done[^<]*' "$page")" \
    grep -q 'Stages that are not done: 1' "$page"
expect "report: a failure's text is there and escaped" "it says: $(grep -o '.\{0,20\}diverged.\{0,20\}' "$page" | tail -1)" \
    grep -q '&lt;b&gt;diverged&lt;/b&gt; &amp; gone' "$page"
finish
