#!/usr/bin/env bash
# Two exported interfaces of one name, from two packages, get the same code.
#
# Versions: @bytecodealliance/componentize-js 0.23.0, @bytecodealliance/jco 1.35.0,
# Node.js 20.
#
# A world exports `one:service/handler` and `two:service/handler`. The guest exports both
# under their full names, which componentize-js accepts and which keeps them apart.
#
# Expected: each answers with its own code, or the build says that it cannot.
# Happens: the build says nothing, and both answer with the code of the second.
# With the second interface under another name both answer rightly, by the same tools.
#
# Seen:
#   same name:   one:service/handler@0.1.0 -> two
#   same name:   two:service/handler@0.1.0 -> two
#   other names: one:service/handler@0.1.0 -> one
#   other names: two:service/listener@0.1.0 -> two
#
# Exits with 0 while that is so. Needs Node.js with npm, and a minute.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "type": "module", "private": true }' > package.json
npm install --silent --no-audit --no-fund \
    @bytecodealliance/componentize-js@0.23.0 @bytecodealliance/jco@1.35.0 @bytecodealliance/preview2-shim@0.26.0

cat > build.js <<'JS'
import { componentize } from '@bytecodealliance/componentize-js';
import { readFile, writeFile } from 'node:fs/promises';
const source = await readFile('guest.js', 'utf8');
const { component } = await componentize(source, { witPath: 'wit', worldName: 'both' });
await writeFile('guest.wasm', component);
JS
cat > run.js <<'JS'
import * as guest from './out/guest.js';
const names = Object.keys(guest).filter((name) => name.includes(':')).sort();
for (const name of names) console.log(`${name} -> ${guest[name].answer()}`);
JS

# answers SECOND_INTERFACE: what both exports say.
answers() {
    rm -rf wit out guest.wasm
    mkdir -p wit/deps/two
    cat > wit/one.wit <<WIT
package one:service@0.1.0;
interface handler { answer: func() -> string; }
world both {
  export handler;
  export two:service/$1@0.1.0;
}
WIT
    cat > wit/deps/two/two.wit <<WIT
package two:service@0.1.0;
interface $1 { answer: func() -> string; }
WIT
    cat > guest.js <<JS
const one = { answer: () => 'one' };
const two = { answer: () => 'two' };
export { one as 'one:service/handler@0.1.0', two as 'two:service/$1@0.1.0' };
JS
    node build.js >&2
    npx jco transpile guest.wasm -o out --name guest >&2
    node run.js
}

same="$(answers handler)"
other="$(answers listener)"
printf 'same name:\n%s\nother names:\n%s\n' "$same" "$other"
[ "$same" = $'one:service/handler@0.1.0 -> two\ntwo:service/handler@0.1.0 -> two' ]
[ "$other" = $'one:service/handler@0.1.0 -> one\ntwo:service/listener@0.1.0 -> two' ]
