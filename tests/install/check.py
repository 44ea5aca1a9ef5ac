#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Installs into a temporary folder and uses what is there as a stranger would: pkg-config, a program in C and in C++,
linked with the shared and with the static library, run against the installed server. Speaks TAP.
"""

import ctypes
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MAP = os.path.join(HERE, '..', '..', 'lib', 'libivshmem.map')

results = []


def check(name, wrong):
    """`wrong` is a sentence, or empty."""
    results.append(not wrong)
    print(f'{"not ok" if wrong else "ok"} {len(results)} - {name}')
    for line in str(wrong).splitlines():
        print(f'# {line}')


def output(*command, **more):
    return subprocess.run(command, check=True, text=True, timeout=120, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          **more).stdout


def attempt(name, function):
    try:
        check(name, function())
    except subprocess.CalledProcessError as error:
        check(name, f'{error}\n{error.output}')
    except (OSError, subprocess.TimeoutExpired) as error:
        check(name, str(error))


def exported(library, *options):
    """The functions and whatever else a library offers, but for the name of its version."""
    lines = output('nm', '--extern-only', '--defined-only', *options, library).splitlines()
    symbols = [line.split()[1:] for line in lines if len(line.split()) == 3]
    return sorted(name.split('@')[0] for kind, name in symbols if kind != 'A')


def promised():
    with open(MAP, encoding='utf-8') as text:
        return sorted(re.findall(r'^\t(ivshmem_\w+);$', text.read(), re.MULTILINE))


def declared(*headers):
    """What begins in the first column; the name of an inline function stands there."""
    names = set()
    for header in headers:
        with open(header, encoding='utf-8') as text:
            names.update(re.findall(r'^(?:[a-z][^#\n(]*?\b)?(ivshmem_\w+)\(', text.read(), re.MULTILINE))
    return sorted(names)


def of_device(names):
    """trace.h is of both libraries."""
    return [name for name in names if name.startswith(('ivshmem_device_', 'ivshmem_kvm_'))]


def differ(one, other):
    return '' if one == other else f'{one}\nis not\n{other}'


# What uses a library, its argument, and what it has to say.
USERS = {
    'libivshmem': ('user.c', 'unix:{}', 'hello 2 1\n'),
    'libivshmem-device': ('device_user.c', '{}', 'descriptor -1 (vm_fd) is no virtual machine\n'),
}


class Installed:
    def __init__(self, build, root):
        self.root = root
        output('meson', 'install', '--no-rebuild', '-C', build, '--destdir', root)
        found = {name: os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names}
        self.programs = os.path.dirname(found['ivshmem-server'])
        self.library = os.path.dirname(found['libivshmem.so.0'])
        self.headers = os.path.dirname(found['client.h'])
        self.environment = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=root, LD_LIBRARY_PATH=self.library,
                                PKG_CONFIG_LIBDIR=os.path.dirname(found['libivshmem.pc']))

    def flags(self, library, *options):
        return output('pkg-config', *options, library, env=self.environment).split()

    def use(self, library, compiler, language, static, socket):
        source, argument, expected = USERS[library]
        program = os.path.join(self.root, 'user')
        libraries = self.flags(library, '--libs', *(['--static'] if static else []))
        output(compiler, '-x', language, '-Wall', '-Wextra', '-Werror', *self.flags(library, '--cflags'),
               os.path.join(HERE, source), '-x', 'none', '-o', program, *(['-static'] if static else []), *libraries,
               env=self.environment)
        return differ(output(program, argument.format(socket), env=self.environment), expected)


def foreign(library):
    """What another language gets from the functions that C has in a header."""
    functions = ctypes.CDLL(library)
    value, offset = functions.ivshmem_doorbell_value, functions.ivshmem_doorbell_offset
    value.argtypes, value.restype = [ctypes.c_uint16] * 2, ctypes.c_uint32
    offset.argtypes, offset.restype = [ctypes.c_uint16, ctypes.c_uint16, ctypes.c_uint], ctypes.c_uint64
    return differ([value(0xfffe, 7), offset(0xfffe, 7, 11)], [0xfffe0007, ((0xfffe << 11) + 7) * 4])


MARK = """
import ctypes, sys
ctypes.CDLL(sys.argv[1]).ivshmem_trace_mark(b"of a stranger", 4, 5)
print(flush=True)
sys.stdin.read()
"""


def traced(installed, wanted, *command):
    """What `ivshmem trace` says of a program that has written a line."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            process.stdout.readline()
            text = output(os.path.join(installed.programs, 'ivshmem'), 'trace', str(process.pid))
        finally:
            process.kill()
    return '' if wanted in text else f'{wanted} is not in {text}'


def serve(installed, socket):
    server = subprocess.Popen([os.path.join(installed.programs, 'ivshmem-server'), '-F', '-S', socket, '-n', '2'],
                              stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        if 'listening' in line:
            return server
    raise OSError('the installed server ended at once')


def main(build):
    with tempfile.TemporaryDirectory(prefix='ivshmem-install-') as root:
        installed = Installed(build, root)
        check('the library exports what its map promises',
              differ(exported(installed.library + '/libivshmem.so.0', '--dynamic'), promised()))
        check('so does the static one', differ(exported(installed.library + '/libivshmem.a'), promised()))
        both = declared(*(f'{installed.headers}/{name}.h' for name in ('client', 'channel', 'abi', 'device', 'kvm', 'trace')))
        device = of_device(both)
        check('the headers declare what the library exports', differ(sorted(set(both) - set(device)), promised()))
        check('the device library exports what its headers declare',
              differ(exported(installed.library + '/libivshmem-device.so.0', '--dynamic'), device))
        check('so does the static device library', differ(exported(installed.library + '/libivshmem-device.a'), device))
        attempt('another language can call what C has inline', lambda: foreign(installed.library + '/libivshmem.so.0'))
        socket = os.path.join(root, 'socket')
        server = serve(installed, socket)
        try:
            for library, (compiler, language), static in itertools.product(
                    USERS, (('cc', 'c'), ('c++', 'c++')), (False, True)):
                name = f'a program in {language} uses the {"static" if static else "shared"} {library}'
                if not shutil.which(compiler):
                    results.append(True)
                    print(f'ok {len(results)} - {name} # SKIP there is no {compiler}')
                    continue
                attempt(name, lambda: installed.use(library, compiler, language, static, socket))
            for what, place in (('installed', installed.programs), ('built', build)):
                # Without the environment, in which our shared library would be found.
                copy = shutil.copy(os.path.join(place, 'ivshmem'), os.path.join(root, f'{what}-ivshmem'))
                attempt(f'the {what} command line works where it is copied to', lambda: '' if '"id"' in output(
                    copy, '-t', socket, '--json', 'info') else 'it does not tell its id')
            attempt('a program with the shared library is traced', lambda: traced(
                installed, 'mark text="of a stranger" a=4 b=5', sys.executable, '-c', MARK, installed.library + '/libivshmem.so.0'))
            attempt('a static program is traced', lambda: traced(
                installed, 'client_attached id=', os.path.join(build, 'ivshmem-static'), '-t', socket, 'wait'))
        finally:
            server.terminate()
            server.communicate()
        check('the server ends with 0', '' if server.returncode == 0 else f'with {server.returncode}')
    print(f'1..{len(results)}')
    return 0 if all(results) else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
