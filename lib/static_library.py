#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
static_library.py AR OBJCOPY OUTPUT.a COMPILER... -- LIBRARY.map PART.a...

Makes a static library of which a program sees no more than of the shared one, whose map that is: its parts become one
object, and what the map does not name becomes local.
"""

import os
import re
import subprocess
import sys


def main(ar, objcopy, output, *rest):
    middle = rest.index('--')
    compiler, version_map, parts = rest[:middle], rest[middle + 1], rest[middle + 2:]
    whole = output.removesuffix('.a') + '.o'
    with open(version_map, encoding='utf-8') as text:
        keep = [f'--keep-global-symbol={name}' for name in re.findall(r'^\t(\w+\*?);$', text.read(), re.MULTILINE)]
    try:
        # Groups are dissolved: a program's own of the same name would replace what is local here.
        subprocess.run([*compiler, '-r', '-nostdlib', '-o', whole, '-Wl,--force-group-allocation',
                        '-Wl,--whole-archive', *parts, '-Wl,--no-whole-archive'], check=True)
        subprocess.run([objcopy, '--wildcard', *keep, whole], check=True)
        if os.path.exists(output):
            os.unlink(output)  # ar would add to it
        subprocess.run([ar, 'rcsD', output, whole], check=True)
    except subprocess.CalledProcessError as error:
        sys.exit(str(error))
    finally:
        if os.path.exists(whole):
            os.unlink(whole)


if __name__ == '__main__':
    main(*sys.argv[1:])
