# SPDX-License-Identifier: BSD-2-Clause
"""The recipes, and what the guests of each have that a guest of the reader has already."""

import dataclasses


@dataclasses.dataclass
class What:
    quick: bool = False  # less than half a minute: the tests run it, too
    packages: tuple = ()  # of Debian
    needs: str = 'lib.*|zlib1g'  # which of those that these depend on
    drops: tuple = ()  # files that are not needed here
    host_programs: bool = False  # the host uses programs of the packages, too
    programs: tuple = ()  # of our build, for everybody
    scripts: tuple = ()  # of the sources, for everybody
    files: dict = dataclasses.field(default_factory=dict)  # path -> content
    prepare: str = ''  # what the scripts of the packages do when these are installed
    memory: int = 256  # of each guest, in MB
    vectors: int = 2


ACCOUNTS = {'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n'
                          'postgres:x:101:101::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n',
            'etc/group': 'root:x:0:\npostgres:x:101:\nnogroup:x:65534:\n'}

RECIPES = {
    'ssh': What(
        quick=True,
        packages=('openssh-server', 'openssh-sftp-server', 'openssh-client'),
        files={**ACCOUNTS, 'etc/ssh/sshd_config': 'PasswordAuthentication no\nSubsystem sftp /usr/lib/openssh/sftp-server\n'},
        prepare='mkdir -p /run/sshd /root; chmod 700 /root; ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key'),
    'logs': What(quick=True, files=ACCOUNTS),
    'frames': What(quick=True, programs=('examples/frames/producer', 'examples/frames/consumer')),
    'postgres': What(
        packages=('postgresql-15', 'postgresql-client-15', 'tzdata'),
        # Its compiler of queries is as big as all the rest together.
        drops=('usr/lib/*/libLLVM*', 'usr/lib/llvm-*', 'usr/lib/postgresql/15/lib/bitcode/*', '*llvmjit*', 'usr/share/postgresql/*/man/*'),
        files=ACCOUNTS,
        prepare='mkdir -p -m 1777 /dev/shm; ln -sf /usr/lib/postgresql/15/bin/psql /usr/bin/psql',
        memory=640),
    'docker': What(
        packages=('docker.io', 'containerd', 'runc', 'busybox-static'),
        host_programs=True,
        # A guest whose root is an initramfs cannot give containers another root as usual.
        prepare='mount -t cgroup2 none /sys/fs/cgroup; export DOCKER_RAMDISK=true',
        memory=1024),
    'grpc': What(
        packages=('python3', 'python3-grpcio', 'python3-protobuf'),
        needs='lib.*|zlib1g|python3.*|media-types',
        drops=('usr/lib/python3*/test/*', '*/__pycache__/*', 'usr/share/gdb/*'),
        scripts=('examples/grpc/greeter-server.py', 'examples/grpc/greeter-client.py'),
        prepare='[ -e /usr/bin/python3 ] || ln -s python3.11 /usr/bin/python3',
        memory=512),
}
