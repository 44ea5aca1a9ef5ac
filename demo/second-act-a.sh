# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
#
# Guest A of the second act. The agent does what the host lets it do, as the host said when it started this machine. Its
# network is there to be compared with: nothing else uses it.

load-driver || exit
while read -r module; do
	insmod "/modules/$module" || exit
done </modules/order-net
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
echo "$ ivshmem agent &"
ivshmem agent 2>&1 &
echo "$ ivshmem listen web tcp:127.0.0.1:80 &"
ivshmem listen web tcp:127.0.0.1:80 2>&1 &
read -r _ # until the host has seen it all
