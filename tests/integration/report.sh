#!/bin/bash
# The report of a small run: what is written, that the page is well formed, and how it looks without gnuplot.
set -u
cd "$(dirname "$0")/../.." || exit 70
signet=${SIGNET:-$PWD/signet}
folder=$(mktemp -d) || exit 73
trap 'rm -rf "$folder"' EXIT
out=$folder/out page=$folder/out/report/index.html
failed=0

check() { # NAME WHY COMMAND...
    local name=$1 why=$2
    shift 2
    if "$@"; then
        echo "ok $name"
    else
        echo "not ok $name: $why"
        failed=1
    fi
}

cat >"$folder/run.cfg" <<'END'
net = { arch = "mlp"; classes = 10; width = 16; };
data = { kind = "shapes"; train_limit = 64; test_limit = 32; };
train = { lr = 0.05; batch = 32; };
search = { methods = ("lrr", "aws"); warmup_epochs = 1; rounds = 2; round_epochs = 1; prune_fraction = 0.5; };
transfer = { modes = ("signed", "dense"); seeds = (2, 3); rounds = (1, 2); epochs = 2; noise_orders = 0; };
connect = { points = 3; pairs = ("signed-search", "signed-signed"); };
END

tests/mpirun.sh 1 "$signet" run "$folder/run.cfg" --out "$out" >"$folder/log" 2>&1
code=$?
check "the run ends" "exit code $code: $(grep -v '^ \|^-' "$folder/log" | tail -3)" [ "$code" = 0 ]
check "run writes the page" "no $page" [ -s "$page" ]
if [ ! -s "$page" ]; then exit 1; fi
check "run says where the page is" "$(tail -3 "$folder/log")" grep -q 'report/index.html' "$folder/log"
check "no temporary name is left" "$(find "$out" -name '*.tmp')" [ -z "$(find "$out" -name '*.tmp')" ]
check "the page is below 5 MB" "$(wc -c <"$page") bytes" [ "$(wc -c <"$page")" -lt 5000000 ]
for plot in accuracy-1-signed accuracy-1-search barrier-1-signed-search barrier-1-signed-signed training-1-search \
    training-1-transfer-aws cost-1-speed cost-1-wall; do
    check "$plot is on the page" "no such id" grep -q "id=\"$plot\"" "$page"
    check "$plot has its CSV" "no report/$plot.csv" grep -q '^series,' "$out/report/$plot.csv"
done
check "paths have plots" "no path-1-signed-signed" grep -q 'id="path-1-signed-signed-' "$page"
check "an experiment that was not run is named" "search.alpha is not" grep -q 'set search.alpha to a list of ranges' "$page"
check "the page is named for the run" "$(grep -o '<title>[^<]*' "$page")" grep -q '<title>Signet: out</title>' "$page"
check "links lead to result files" "$(grep -o '\.\./stages/[^"]*' "$page" | head -1)" \
    [ -s "$out/report/$(grep -o '\.\./stages/[^"]*' "$page" | head -1)" ]
check "the configuration is on the page" "prune_fraction is not" grep -q prune_fraction "$page"

cat >"$folder/check.py" <<'END'
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
if command -v python3 >/dev/null; then
    python3 "$folder/check.py" "$page" >"$folder/wrong" 2>&1
    code=$?
    check "the page is well formed" "$(tail -1 "$folder/wrong")" [ "$code" = 0 ]
fi
if command -v gnuplot >/dev/null; then
    check "every figure has its plot" "$(grep -c '<svg' "$page") plots of $(grep -c '<figure' "$page")" \
        [ "$(grep -c '<svg' "$page")" = "$(grep -c '<figure' "$page")" ]
fi

# A gnuplot that only fails: the page is there all the same.
mkdir "$folder/bin"
printf '#!/bin/sh\nexit 3\n' >"$folder/bin/gnuplot"
chmod +x "$folder/bin/gnuplot"
rm -rf "$out/report"
PATH=$folder/bin:$PATH tests/mpirun.sh 1 "$signet" collect "$out" >"$folder/log" 2>&1
code=$?
check "collect does without a working gnuplot" "exit code $code: $(tail -3 "$folder/log")" [ "$code" = 0 ]
check "the page says what is wrong with gnuplot" "no word of it" grep -q 'gnuplot ended with exit code 3' "$page"
check "the page says what to install" "no word of it" grep -q 'apt install gnuplot-nox' "$page"
check "the page has tables without plots" "no table of runs" grep -q '<h2 id="runs">' "$page"

# A stage that failed: its message is text, whatever it holds.
stage=$(find "$out/stages" -path '*connect*' -name result.h5 | sort | head -1)
key=$(tests/mpirun.sh 1 "$signet" inspect "$stage" 2>/dev/null | sed -n 's|^ *key: ||p')
rm -f "$stage"
printf '%s\n<b>diverged</b> & gone\n' "$key" >"$(dirname "$stage")/failed"
PATH=$folder/bin:$PATH tests/mpirun.sh 1 "$signet" collect "$out" >"$folder/log" 2>&1
check "a missing stage is listed" "$(grep -o 'Stages that are not done[^<]*' "$page")" \
    grep -q 'Stages that are not done: 1' "$page"
check "a failure's text is there and escaped" "it says: $(grep -o '.\{0,20\}diverged.\{0,20\}' "$page" | tail -1)" \
    grep -q '&lt;b&gt;diverged&lt;/b&gt; &amp; gone' "$page"
exit $failed
