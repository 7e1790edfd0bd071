#!/usr/bin/env bash
# A real object store on this machine: one Ceph monitor, one OSD in a sparse file, one gateway that speaks S3.
#
#   ceph.sh start DIR PORT   make it in DIR, or start it again with what it holds; S3 at http://127.0.0.1:PORT
#   ceph.sh stop DIR PORT    stop it; DIR stays
#   ceph.sh install          Debian's packages, where they are missing
#
# `start` returns when the gateway answers. DIR/environment then holds the address and the keys as AWS_* variables.
# The monitor listens on PORT + 1. Everything is on loopback, unreplicated, and without authentication inside.
set -euo pipefail

packages=(ceph-mon ceph-osd radosgw ceph-common)
install() {
  type -P ceph-mon ceph-osd radosgw ceph monmaptool >/dev/null && return
  local root=()
  [[ $EUID == 0 ]] || root=(sudo -n)
  export DEBIAN_FRONTEND=noninteractive
  "${root[@]}" apt-get update -qq && "${root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}
[[ ${1-} != install ]] || { install; exit; }

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[[ $# == 3 && $3 =~ ^[0-9]+$ ]] || usage
port=$3
mkdir -p "$2"
dir=$(cd "$2" && pwd)
conf=$dir/ceph.conf
run() { "$@" >>"$dir/setup.log" 2>&1 || { tail -n 20 "$dir/setup.log" >&2; echo "ceph.sh: failed: $*" >&2; exit 1; }; }
ceph() { timeout 60 ceph --conf "$conf" --connect-timeout 30 "$@"; }

wait_until() {  # seconds, then a command that succeeds once it is so
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || { tail -n 5 "$dir"/*.log >&2; echo "ceph.sh: not in time: $*" >&2; exit 1; }
    sleep 0.2
  done
}

configure() {  # ms mon client mode: the gateway alone would ask for encryption, which authentication `none` cannot give
  cat >"$conf" <<END
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon initial members = a
mon host = [v2:127.0.0.1:$((port + 1))]
public addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
run dir = $dir
admin socket = $dir/\$name.asok
pid file = $dir/\$name.pid
log file = $dir/\$name.log
mon cluster log file = $dir/cluster.log
crash dir = $dir
mon data = $dir/mon
mon data avail crit = 1
mon allow pool size one = true
mon max pg per osd = 1000
osd data = $dir/osd
osd objectstore = bluestore
osd memory target = 939524096
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
bluestore block size = 8589934592
bluestore fsck quick fix on mount = false
rgw data = $dir/rgw
rgw frontends = beast endpoint=127.0.0.1:$port
rgw enable ops log = false
rgw enable usage log = false
END
  mkdir -p "$dir/mon" "$dir/osd" "$dir/rgw"
  local fsid
  fsid=$(sed -n 's/^fsid = //p' "$conf")
  run monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$((port + 1))]" "$dir/monmap"
  run ceph-mon --conf "$conf" -i a --mkfs --monmap "$dir/monmap"
}

start_mon() { run ceph-mon --conf "$conf" -i a; wait_until 30 ceph mon stat; }
start_osd() { run ceph-osd --conf "$conf" -i 0; wait_until 60 osd_is_up; }
osd_is_up() { ceph osd stat | grep -q '1 up'; }

start_gateway() {
  run timeout 60 radosgw --conf "$conf" -n client.rgw
  wait_until 60 gateway_answers
}
gateway_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && grep -q '^HTTP.* 200' <&3); }

make_user() {
  local key secret
  key=QREFINETEST$RANDOM
  secret=$(head -c 30 /dev/urandom | base64 | tr -dc 'A-Za-z0-9')
  run radosgw-admin --conf "$conf" user create --uid qrefine --display-name qrefine \
    --access-key "$key" --secret-key "$secret"
  (umask 077; cat >"$dir/environment" <<END
AWS_ENDPOINT_URL=http://127.0.0.1:$port
AWS_ACCESS_KEY_ID=$key
AWS_SECRET_ACCESS_KEY=$secret
END
  )
}

start() {
  local part
  for part in ceph-mon ceph-osd radosgw ceph monmaptool; do
    type -P "$part" >/dev/null || { echo "ceph.sh: $part is missing: apt-get install ${packages[*]}" >&2; exit 3; }
  done
  if [[ -e $dir/environment ]]; then  # it was made before
    start_mon; start_osd; start_gateway
    return
  fi
  configure
  start_mon
  run ceph osd new "$(cat /proc/sys/kernel/random/uuid)" 0
  run ceph-osd --conf "$conf" -i 0 --mkfs --osd-uuid "$(ceph osd dump | sed -n 's/^osd\.0 .* \([0-9a-f-]*\)$/\1/p')" --monmap "$dir/monmap"
  start_osd
  start_gateway
  make_user
}

stop() {
  local file pid
  for file in "$dir"/{client.rgw,osd.0,mon.a}.pid; do  # the gateway first, the monitor last
    [[ -s $file ]] || continue
    pid=$(<"$file")
    grep -qzE 'ceph|radosgw' "/proc/$pid/cmdline" 2>/dev/null || continue
    kill "$pid" 2>/dev/null || true
    for _ in {1..100}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  done
}

case $1 in
  start) start ;;
  stop) stop ;;
  *) usage ;;
esac
