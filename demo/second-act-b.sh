# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
#
# Guest B of the second act, which has no network. It waits for the site to be there, and reads it.

load-driver || exit
ip link set lo up
echo "$ ivshmem forward tcp:127.0.0.1:8080 web &"
ivshmem forward tcp:127.0.0.1:8080 web 2>&1 &
read -r file
echo "$ wget http://127.0.0.1:8080/ http://127.0.0.1:8080/$file"
wget -q -O - http://127.0.0.1:8080/
echo "@page $(wget -q -O - http://127.0.0.1:8080/ | sha256sum)"
echo "@file $(wget -q -O - "http://127.0.0.1:8080/$file" | sha256sum)"
read -r _
