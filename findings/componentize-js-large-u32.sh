#!/usr/bin/env bash
# A u32 argument of 2^31 or more arrives as 0; the same number in a list arrives right.
#
# Versions: @bytecodealliance/componentize-js 0.23.0, @bytecodealliance/jco 1.35.0,
# Node.js 20.
#
# A JavaScript guest calls two imported functions, one that takes a `u32` and one that
# takes a `list<u32>`, with numbers that all fit into a u32.
#
# Expected: both get the numbers that were sent.
# Happens: from 2147483648 on, the bare argument is 0. Nothing is thrown.
#
# Seen:
#   bare 7
#   in a list 7
#   bare 2147483647
#   in a list 2147483647
#   bare 0
#   in a list 2147483648
#   bare 0
#   in a list 4000000000
#
# Exits with 0 while that is so. Needs Node.js with npm, and a minute.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "type": "module", "private": true }' > package.json
npm install --silent --no-audit --no-fund \
    @bytecodealliance/componentize-js@0.23.0 @bytecodealliance/jco@1.35.0 @bytecodealliance/preview2-shim@0.26.0

mkdir wit
cat > wit/world.wit <<'WIT'
package local:numbers@0.1.0;
interface sink {
  bare: func(number: u32);
  listed: func(numbers: list<u32>);
}
world guest {
  import sink;
  export run: func();
}
WIT
cat > guest.js <<'JS'
import { bare, listed } from 'local:numbers/sink@0.1.0';
export function run() {
  for (const number of [7, 2147483647, 2147483648, 4000000000]) {
    bare(number);
    listed([number]);
  }
}
JS
cat > build.js <<'JS'
import { componentize } from '@bytecodealliance/componentize-js';
import { readFile, writeFile } from 'node:fs/promises';
const source = await readFile('guest.js', 'utf8');
const { component } = await componentize(source, { witPath: 'wit', worldName: 'guest' });
await writeFile('guest.wasm', component);
JS
cat > sink.js <<'JS'
export const bare = (number) => console.log('bare', number);
export const listed = (numbers) => console.log('in a list', numbers[0]);
JS
cat > run.js <<'JS'
import { run } from './out/guest.js';
run();
JS
node build.js >&2
npx jco transpile guest.wasm -o out --name guest --map 'local:numbers/sink=../sink.js' >&2
seen="$(node run.js)"
printf '%s\n' "$seen"
[ "$seen" = "$(printf '%s\n' 'bare 7' 'in a list 7' 'bare 2147483647' 'in a list 2147483647' \
    'bare 0' 'in a list 2147483648' 'bare 0' 'in a list 4000000000')" ]
