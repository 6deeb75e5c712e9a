#!/usr/bin/env bash
# A real Apache Kafka on the loopback, from Maven Central, without Docker: 4.1.0 (KRaft), or the version that KAFKA_VERSION names.
# Needs Java 17 or later; Maven only for the first fetch.
#
#   kafka.sh fetch                 download the jars, start nothing
#   kafka.sh up [--brokers N] [--secure] [--kerberos]
#                                  a fresh cluster of N brokers (default 1); prints BOOTSTRAP=host:port[,...]
#   kafka.sh down [--wipe]         end every broker (and remove the directory)
#   kafka.sh stop|kill ID          one broker: a clean stop, or kill -9
#   kafka.sh start ID              one broker again, on the data it had
#   kafka.sh kdc stop|start        the KDC of --kerberos
#   kafka.sh certificate NAME SUBJECT FROM UNTIL
#                                  one more certificate of --secure, and its key; FROM and UNTIL as date -d takes them ("100 days")
#   kafka.sh status                which brokers run, their process ids, the bootstrap address
#   kafka.sh tool NAME [ARG...]    one of Kafka's own commands: topics, groups, configs, acls, producer, consumer, dump,
#                                  or a full class name
#
# KAFKA_DIR   where one cluster lives (default ./.kafka-test); several may run at once in directories of their own
# KAFKA_PORT  first of 2*N consecutive ports: N for clients, then N for controllers (default: free ones at random);
#             with KAFKA_FRONT of 3*N
# KAFKA_HEAP  heap of one broker (default 512m)
# KAFKA_JVM   more JVM flags
# KAFKA_SET   more broker settings: a=b;c=d
# KAFKA_FRONT first of N consecutive ports where something stands in front of the brokers (a proxy): each broker gets a
#             second client listener, whose address `up` prints as BACK=..., and which it advertises as its port in front
# KAFKA_DISKS a folder with a folder (a disk, say) for each broker, named by its number: its data go into data/ there
#             (default: beside its properties)
# KAFKA_VERSION  which Apache Kafka `fetch` and `up` take (default 4.1.0); later commands take that of the cluster. From 3.0 on it is a
#             KRaft cluster; before, one with a ZooKeeper, which comes with the jars. The oldest that was tried is 0.11.0.3
# KAFKA_LIBS  where the jars are kept (default ~/.cache/aqueduct/kafka-VERSION; 15 to 60 MB each)
#
# --secure (Kafka 3.5 or later: KRaft knows SCRAM since then) gives each broker four listeners more, and rights (ACLs). `up` prints their addresses:
#   TLS        TLS                                        MTLS      TLS with a client certificate
#   SASL       PLAIN, SCRAM-SHA-256/512, OAUTHBEARER      SASL_TLS  the same over TLS
# User alice has the password alice-secret, bob (SCRAM only) bob-secret; OAUTHBEARER takes unsigned tokens. In tls/ stand
# ca.pem, other-ca.pem, client.pem, client.key and client-encrypted.key (password key-secret). Needs openssl.
#
# --kerberos starts a KDC with a realm of its own, and gives each broker two listeners more, GSSAPI and the same over TLS, GSSAPI_TLS
# (service kafka, host localhost; tls/ as above). In kerberos/ stand krb5.conf, for KRB5_CONFIG, and keytabs: alice.keytab, stale.keytab (keys that alice had
# before), brief.keytab (brief's tickets last 20 s). kdc.log tells what the KDC was asked. Needs MIT's krb5-kdc, krb5-admin-server and krb5-user.
#
# Exit codes: 0 ok, 1 failed, 2 usage, 77 something is missing that has to be installed (callers count that as skipped).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=${KAFKA_VERSION:-4.1.0}
libs=${KAFKA_LIBS:-$HOME/.cache/aqueduct/kafka-$version}
realm=TEST.AQUEDUCT

main() {
  local command=${1:-}
  [ $# -gt 0 ] && shift
  case $command in
    fetch) fetch ;;
    up) rm -f "${KAFKA_DIR:-.kafka-test}/version"; open_dir; up "$@" ;;
    down) open_dir; down "$@" ;;
    stop) open_dir; end_broker "${1:?which broker}" TERM 30 ;;
    kill) open_dir; end_broker "${1:?which broker}" KILL 5 ;;
    start) open_dir; launch "${1:?which broker}"; wait_ready "$1" ;;
    kdc) open_dir; kdc "${1:?stop or start}" ;;
    certificate) open_dir; make_certificate "${1:?which name}" "${2:?of whom}" "${3:?from when}" "${4:?until when}" ;;
    status) open_dir; status ;;
    tool) open_dir; tool "$@" ;;
    *) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2 ;;
  esac
}

die() { echo "kafka.sh: $*" >&2; exit 1; }
missing() { echo "kafka.sh: $*" >&2; exit 77; }

open_dir() {
  mkdir -p "${KAFKA_DIR:=.kafka-test}"
  dir=$(cd "$KAFKA_DIR" && pwd)
  # A cluster that is up stays what it is.
  [ ! -e "$dir/version" ] || { read -r version && read -r libs; } <"$dir/version"
}

# Whether the version is at least MAJOR MINOR.
since() {
  local major minor rest
  IFS=. read -r major minor rest <<<"$version"
  ((major > $1 || (major == $1 && minor >= $2)))
}

need_java() {
  command -v java >/dev/null || missing "java is missing; install a JRE of version 17 or later (Debian: default-jre-headless)"
  local major
  major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -1)
  [ "${major:-0}" -ge 17 ] || missing "java is version ${major:-unknown}; 17 or later is needed"
}

# Several test programs may ask at once: one fetches, the others wait and find the work done.
fetch() {
  [ -e "$libs/.complete" ] && return
  need_java
  command -v mvn >/dev/null || missing "mvn is missing and $libs is empty; install Maven (Debian: maven) or set KAFKA_LIBS"
  mkdir -p "$libs"
  exec 8>"$libs/.lock"
  flock 8
  if [ ! -e "$libs/.complete" ]; then
    echo "kafka.sh: fetching Apache Kafka $version from Maven Central into $libs (15 to 60 MB, once)" >&2
    local profiles=tools,log4j2 scala=2.13
    since 4 0 || profiles=tools,log4j1
    since 3 0 || { profiles=log4j1,java8; scala=2.12; }
    mvn -q -B -f "$here/pom.xml" -P "$profiles" "-Dkafka=$version" "-Dscala=$scala" dependency:copy-dependencies "-DoutputDirectory=$libs" >&2 ||
      missing "Maven could not fetch Kafka $version"
    touch "$libs/.complete"
  fi
  exec 8>&-
}

up() {
  local n=1 id first voters='' boot='' secure=0 kerberos=0
  while [ $# -gt 0 ]; do
    case $1 in
      --brokers) n=${2:?how many}; shift 2 ;;
      --secure) secure=1; shift ;;
      --kerberos) kerberos=1; shift ;;
      *) die "unknown option $1" ;;
    esac
  done
  since 3 5 || [ $((secure + kerberos)) = 0 ] || die "--secure and --kerberos need Kafka 3.5 or later"
  need_java
  fetch
  for id in $(brokers); do pid_of "$id" >/dev/null && die "already up in $dir; 'kafka.sh down' ends it"; done
  stop_kdc
  end_broker zookeeper TERM 5
  rm -rf "${dir:?}"/[0-9]* "$dir/env" "$dir/tls" "$dir/kerberos" "$dir/zookeeper"
  printf '%s\n' "$version" "$libs" >"$dir/version"
  local ports=$((2 * n)) back=''
  [ -z "${KAFKA_FRONT:-}" ] || ports=$((3 * n))
  # Behind all others, so that their numbers are the same with and without.
  local secure_first=$ports
  [ $secure = 0 ] || ports=$((ports + 4 * n))
  local kerberos_first=$ports
  [ $kerberos = 0 ] || { need_kerberos; ports=$((ports + 2 * n + 1)); }
  [ $((secure + kerberos)) = 0 ] || make_certificates
  first=${KAFKA_PORT:-$(free_ports $ports)}
  for ((id = 1; id <= n; id++)); do
    voters+=${voters:+,}$id@127.0.0.1:$((first + n + id - 1))
    boot+=${boot:+,}127.0.0.1:$((first + id - 1))
    back+=${back:+,}127.0.0.1:$((first + 2 * n + id - 1))
  done
  write_log_config
  [ $kerberos = 0 ] || { make_realm $((first + kerberos_first + 2 * n)); start_kdc; }
  local formats=()
  for ((id = 1; id <= n; id++)); do
    write_properties "$id" "$n" "$first" "$voters"
    [ $secure = 0 ] || write_security "$id" $((first + secure_first + 4 * (id - 1)))
    [ $kerberos = 0 ] || write_kerberos "$id" $((first + kerberos_first + 2 * (id - 1)))
    since 3 0 || continue
    format "$id" &
    formats+=($!)
  done
  for id in "${formats[@]}"; do wait "$id" || die "format failed; see $dir/*/format.log"; done
  echo "BOOTSTRAP=$boot" >"$dir/env"
  [ -z "${KAFKA_FRONT:-}" ] || echo "BACK=$back" >>"$dir/env"
  [ $secure = 0 ] || say_secure "$n" $((first + secure_first)) >>"$dir/env"
  [ $kerberos = 0 ] || say_kerberos "$n" $((first + kerberos_first)) >>"$dir/env"
  since 3 0 || start_zookeeper $((first + n))
  for ((id = 1; id <= n; id++)); do launch "$id"; done
  for ((id = 1; id <= n; id++)); do wait_ready "$id"; done
  cat "$dir/env"
}

down() {
  local id
  for id in $(brokers); do end_broker "$id" TERM 5 & done
  wait
  stop_kdc
  end_broker zookeeper TERM 5
  [ "${1:-}" != --wipe ] || rm -rf "$dir"
}

status() {
  local id
  for id in $(brokers); do echo "broker $id: $(pid_of "$id" || echo down)"; done
  cat "$dir/env" 2>/dev/null || true
}

brokers() { local f; for f in "$dir"/[0-9]*/server.properties; do [ ! -e "$f" ] || basename "$(dirname "$f")"; done; }

# The process id of a broker, if the process that bears it is still the one this directory started.
pid_of() {
  local pid
  pid=$(cat "$dir/$1/pid" 2>/dev/null) || return 1
  [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *" $dir/$1/server.properties"* ]] && echo "$pid"
}

# A last broker without its quorum never ends its clean stop, so patience has a limit.
end_broker() { # id signal seconds
  local pid i
  pid=$(pid_of "$1") || { rm -f "$dir/$1/pid"; return 0; }
  kill "-$2" "$pid"
  for ((i = 0; i < $3 * 10; i++)); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$dir/$1/pid"
}

launch() {
  need_java
  pid_of "$1" >/dev/null && die "broker $1 is running"
  log_flags
  since 3 0 || wait_forgotten "$1"
  : >"$dir/$1/kafka.log"
  local kerberos=()
  [ ! -e "$dir/kerberos" ] || kerberos=("-Djava.security.krb5.conf=$dir/kerberos/krb5.conf")
  # shellcheck disable=SC2086  # KAFKA_JVM is a list of flags
  (cd "$dir/$1" && exec setsid java "-Xmx${KAFKA_HEAP:-512m}" "-Xms${KAFKA_HEAP:-512m}" ${KAFKA_JVM:-} "${kerberos[@]}" \
    "${logging[@]}" -cp "$libs/*" kafka.Kafka "$dir/$1/server.properties" \
    >"$dir/$1/kafka.log" 2>&1 </dev/null) &
  echo $! >"$dir/$1/pid"
}

wait_ready() {
  local i
  for ((i = 0; i < 1500; i++)); do
    grep -qE "Kafka Server started|started \(kafka\.server\.KafkaServer\)" "$dir/$1/kafka.log" && return
    # A busy machine takes its time to get from fork to java.
    pid_of "$1" >/dev/null || ((i < 50)) || { tail -5 "$dir/$1/kafka.log" >&2; die "broker $1 ended; see $dir/$1/kafka.log"; }
    sleep 0.1
  done
  die "broker $1 not ready after 150 s; see $dir/$1/kafka.log"
}

busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# How many in a row -> the first. Below 32768, where the kernel picks the ports of outgoing connections.
free_ports() {
  local attempt first port
  for ((attempt = 0; attempt < 200; attempt++)); do
    first=$((20000 + RANDOM % 12000))
    for ((port = first; port < first + $1; port++)); do busy "$port" && continue 2; done
    echo "$first"
    return
  done
  die "no $1 free ports in a row"
}

write_log_config() {
  cat >"$dir/log4j2.xml" <<'EOF'
<Configuration status="ERROR">
  <Appenders><Console name="C"><PatternLayout pattern="%d %p %m (%c)%n"/></Console></Appenders>
  <Loggers>
    <Logger name="kafka.server.KafkaRaftServer" level="INFO"/>
    <Root level="WARN"><AppenderRef ref="C"/></Root>
  </Loggers>
</Configuration>
EOF
  cat >"$dir/log4j.properties" <<'EOF'
log4j.rootLogger=WARN, C
log4j.logger.kafka.server.KafkaRaftServer=INFO
log4j.logger.kafka.server.KafkaServer=INFO
log4j.appender.C=org.apache.log4j.ConsoleAppender
log4j.appender.C.layout=org.apache.log4j.PatternLayout
log4j.appender.C.layout.ConversionPattern=%d %p %m (%c)%n
EOF
}

# Before 4.0 it was the first log4j.
log_flags() {
  logging=("-Dlog4j2.configurationFile=$dir/log4j2.xml")
  since 4 0 || logging=("-Dlog4j.configuration=file:$dir/log4j.properties")
}

# One for all brokers, with sessions that end soon when a broker is killed.
start_zookeeper() { # port
  local z=$dir/zookeeper i
  mkdir -p "$z"
  cat >"$z/server.properties" <<EOF
dataDir=$z/data
clientPort=$1
clientPortAddress=127.0.0.1
maxClientCnxns=0
tickTime=1000
4lw.commands.whitelist=dump
admin.enableServer=false
EOF
  log_flags
  (cd "$z" && exec setsid java -Xmx128m -XX:TieredStopAtLevel=1 -Dzookeeper.jmx.log4j.disable=true "${logging[@]}" -cp "$libs/*"     org.apache.zookeeper.server.quorum.QuorumPeerMain "$z/server.properties" >"$z/log" 2>&1 </dev/null) &
  echo $! >"$z/pid"
  for ((i = 0; i < 300; i++)); do busy "$1" && return; sleep 0.1; done
  die "ZooKeeper did not start; see $z/log"
}

# A broker that was killed is known to ZooKeeper until its session ends, and cannot register again before.
wait_forgotten() { # id
  local port i
  port=$(sed -n 's/^clientPort=//p' "$dir/zookeeper/server.properties")
  for ((i = 0; i < 300; i++)); do
    zookeeper_knows "$port" "/brokers/ids/$1" || return 0
    sleep 0.1
  done
}

zookeeper_knows() { # port path
  { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
  echo dump >&3
  grep -q "$2\$" <&3 && exec 3>&-
}

write_properties() { # id brokers first-port voters
  local id=$1 n=$2 first=$3 replicas=$(($2 < 3 ? $2 : 3)) isr=$(($2 < 3 ? 1 : 2))
  local extra=${KAFKA_SET:-} listen='' tell='' role
  if [ -n "${KAFKA_FRONT:-}" ]; then
    listen=,FRONT://127.0.0.1:$((first + 2 * n + id - 1))
    tell=,FRONT://127.0.0.1:$((KAFKA_FRONT + id - 1))
  fi
  if since 3 0; then
    listen=,CONTROLLER://127.0.0.1:$((first + n + id - 1))$listen
    role=$(printf '%s\n' process.roles=broker,controller "node.id=$id" "controller.quorum.voters=$4" controller.listener.names=CONTROLLER)
  else
    role=$(printf '%s\n' "broker.id=$id" "zookeeper.connect=127.0.0.1:$((first + n))" zookeeper.session.timeout.ms=4000)
  fi
  mkdir -p "$dir/$id"
  if [ -n "${KAFKA_DISKS:-}" ]; then
    mkdir -p "$KAFKA_DISKS/$id/data"
    ln -s "$KAFKA_DISKS/$id/data" "$dir/$id/data"
  fi
  cat >"$dir/$id/server.properties" <<EOF
$role
broker.rack=rack$id
listeners=CLIENT://127.0.0.1:$((first + id - 1))$listen
advertised.listeners=CLIENT://127.0.0.1:$((first + id - 1))$tell
listener.security.protocol.map=CLIENT:PLAINTEXT,FRONT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
log.dirs=$dir/$id/data
num.partitions=4
default.replication.factor=$replicas
min.insync.replicas=$isr
offsets.topic.num.partitions=5
offsets.topic.replication.factor=$replicas
transaction.state.log.num.partitions=5
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$isr
group.initial.rebalance.delay.ms=0
${extra//;/$'\n'}
EOF
}

# An authority, a certificate of the brokers and one of a client; and an authority that signed nothing.
make_certificates() {
  command -v openssl >/dev/null || missing "openssl is missing (Debian: openssl)"
  local t=$dir/tls name
  mkdir -p "$t"
  for name in ca other-ca; do
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=test-$name" -keyout "$t/$name.key" -out "$t/$name.pem" 2>/dev/null
  done
  make_certificate server localhost now '3650 days'
  make_certificate client alice now '3650 days'
  openssl pkcs8 -topk8 -in "$t/client.key" -passout pass:key-secret -out "$t/client-encrypted.key" 2>/dev/null
}

# In tls/: NAME.key, NAME.pem, and both of them in NAME.both.pem.
make_certificate() { # name subject from until
  local t=$dir/tls ca=$dir/tls/$1.ca from until
  [ -e "$t/ca.pem" ] || die "no certificates in $dir; start it with --secure"
  from=$(date -u -d "$3" +%Y%m%d%H%M%SZ) until=$(date -u -d "$4" +%Y%m%d%H%M%SZ)
  rm -rf "$ca"
  mkdir "$ca"
  : >"$ca/index"
  cat >"$ca/conf" <<EOF
[ca]
default_ca=own
[own]
database=$ca/index
rand_serial=yes
new_certs_dir=$ca
default_md=sha256
policy=any
x509_extensions=names
[any]
commonName=supplied
[names]
subjectAltName=DNS:localhost,IP:127.0.0.1
EOF
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$2" -keyout "$t/$1.key" -out "$ca/request" 2>/dev/null
  openssl ca -batch -notext -config "$ca/conf" -cert "$t/ca.pem" -keyfile "$t/ca.key" -startdate "$from" -enddate "$until" \
    -in "$ca/request" -out "$t/$1.pem" 2>/dev/null
  rm -rf "$ca"
  cat "$t/$1.key" "$t/$1.pem" >"$t/$1.both.pem"
}

# Four listeners more for a broker whose properties are written, on four consecutive ports.
write_security() { # id first-port
  local f=$dir/$1/server.properties p=$2 listener more modules=org.apache.kafka.common.security
  more=TLS://127.0.0.1:$p,MTLS://127.0.0.1:$((p + 1)),SASL://127.0.0.1:$((p + 2)),SASLTLS://127.0.0.1:$((p + 3))
  sed -i -e "s|^listeners=.*|&,$more|" -e "s|^advertised.listeners=.*|&,$more|" \
    -e "s|^listener.security.protocol.map=.*|&,TLS:SSL,MTLS:SSL,SASL:SASL_PLAINTEXT,SASLTLS:SASL_SSL|" "$f"
  cat >>"$f" <<EOF
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/server.both.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
listener.name.mtls.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
EOF
  for listener in sasl sasltls; do
    cat >>"$f" <<EOF
listener.name.$listener.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.$listener.plain.sasl.jaas.config=$modules.plain.PlainLoginModule required user_alice="alice-secret";
listener.name.$listener.scram-sha-256.sasl.jaas.config=$modules.scram.ScramLoginModule required;
listener.name.$listener.scram-sha-512.sasl.jaas.config=$modules.scram.ScramLoginModule required;
listener.name.$listener.oauthbearer.sasl.jaas.config=$modules.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="kafka";
EOF
  done
}

say_secure() { # brokers first-port
  local names=(TLS MTLS SASL SASL_TLS) at id hosts
  for at in 0 1 2 3; do
    hosts=''
    for ((id = 1; id <= $1; id++)); do hosts+=${hosts:+,}127.0.0.1:$(($2 + 4 * (id - 1) + at)); done
    echo "${names[at]}=$hosts"
  done
}

need_kerberos() {
  PATH=$PATH:/usr/sbin:/sbin
  local name
  for name in krb5kdc kdb5_util kadmin.local; do
    command -v $name >/dev/null || missing "$name is missing (Debian: krb5-kdc krb5-admin-server krb5-user)"
  done
}

# A realm that asks no name server: names of services are taken as they are written.
make_realm() { # port
  local k=$dir/kerberos name
  mkdir -p "$k"
  cat >"$k/krb5.conf" <<EOF
[libdefaults]
  default_realm = $realm
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
[realms]
  $realm = {
    kdc = 127.0.0.1:$1
  }
EOF
  cat >"$k/kdc.conf" <<EOF
[realms]
  $realm = {
    database_name = $k/principal
    key_stash_file = $k/stash
    kdc_listen = 127.0.0.1:$1
    kdc_tcp_listen = 127.0.0.1:$1
  }
[logging]
  kdc = FILE:$k/kdc.log
EOF
  {
    kerberos kdb5_util create -s -r $realm -P master
    for name in kafka/localhost alice; do kerberos kadmin.local -r $realm addprinc -randkey $name; done
    kerberos kadmin.local -r $realm addprinc -randkey -maxlife '20 seconds' brief
    kerberos kadmin.local -r $realm ktadd -k "$k/kafka.keytab" kafka/localhost
    # Each ktadd makes new keys, so that those of before are worth nothing.
    for name in stale alice; do kerberos kadmin.local -r $realm ktadd -k "$k/$name.keytab" alice; done
    kerberos kadmin.local -r $realm ktadd -k "$k/brief.keytab" brief
  } >"$k/log" 2>&1 || die "the realm could not be made; see $k/log"
}

kerberos() { KRB5_CONFIG=$dir/kerberos/krb5.conf KRB5_KDC_PROFILE=$dir/kerberos/kdc.conf "$@"; }

kdc() {
  [ -e "$dir/kerberos/kdc.conf" ] || die "no KDC in $dir; 'kafka.sh up --kerberos' makes one"
  case $1 in
    stop) stop_kdc ;;
    start) need_kerberos; start_kdc ;;
    *) die "kdc stop or kdc start" ;;
  esac
}

start_kdc() {
  local k=$dir/kerberos port i
  port=$(sed -n 's/.*kdc_tcp_listen = .*://p' "$k/kdc.conf")
  (
    export KRB5_CONFIG=$k/krb5.conf KRB5_KDC_PROFILE=$k/kdc.conf
    exec setsid krb5kdc -n -r $realm -P "$k/kdc.pid" >>"$k/log" 2>&1 </dev/null
  ) &
  echo $! >"$k/pid"
  for ((i = 0; i < 100; i++)); do busy "$port" && return; sleep 0.1; done
  die "the KDC did not start; see $k/log"
}

stop_kdc() {
  local k=$dir/kerberos pid i
  pid=$(cat "$k/pid" 2>/dev/null) || return 0
  rm -f "$k/pid"
  [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *" $k/kdc.pid"* ]] || return 0
  kill "$pid"
  for ((i = 0; i < 50; i++)); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
}

# Two listeners more for a broker whose properties are written, on two consecutive ports.
write_kerberos() { # id first-port
  local f=$dir/$1/server.properties listener more=GSSAPI://localhost:$2,GSSAPITLS://localhost:$(($2 + 1))
  sed -i -e "s|^listeners=.*|&,$more|" -e "s|^advertised.listeners=.*|&,$more|" \
    -e "s|^listener.security.protocol.map=.*|&,GSSAPI:SASL_PLAINTEXT,GSSAPITLS:SASL_SSL|" "$f"
  for listener in gssapi gssapitls; do
    cat >>"$f" <<EOF
listener.name.$listener.sasl.enabled.mechanisms=GSSAPI
listener.name.$listener.sasl.kerberos.service.name=kafka
listener.name.$listener.gssapi.sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true keyTab="$dir/kerberos/kafka.keytab" principal="kafka/localhost@$realm";
EOF
  done
  cat >>"$f" <<EOF
listener.name.gssapitls.ssl.keystore.type=PEM
listener.name.gssapitls.ssl.keystore.location=$dir/tls/server.both.pem
EOF
}

say_kerberos() { # brokers first-port
  local id plain='' tls=''
  for ((id = 1; id <= $1; id++)); do
    plain+=${plain:+,}localhost:$(($2 + 2 * (id - 1)))
    tls+=${tls:+,}localhost:$(($2 + 2 * (id - 1) + 1))
  done
  echo "GSSAPI=$plain"
  echo "GSSAPI_TLS=$tls"
  echo "KRB5_CONFIG=$dir/kerberos/krb5.conf"
}

format() {
  local users=() name hash
  if [ -e "$dir/tls" ]; then
    for name in alice bob; do
      for hash in 256 512; do users+=(--add-scram "SCRAM-SHA-$hash=[name=$name,password=$name-secret]"); done
    done
  fi
  log_flags
  java -XX:TieredStopAtLevel=1 -Xshare:auto "${logging[@]}" -cp "$libs/*" kafka.tools.StorageTool \
    format --cluster-id AAAAAAAAAAAAAAAAAAAAAQ --config "$dir/$1/server.properties" "${users[@]}" >"$dir/$1/format.log" 2>&1
}

tool() {
  local class=${1:?which tool} boot flag=--bootstrap-server
  shift
  need_java
  fetch
  case $class in
    topics) class=$(first_of org.apache.kafka.tools.TopicCommand kafka.admin.TopicCommand) ;;
    groups) class=$(first_of org.apache.kafka.tools.consumer.group.ConsumerGroupCommand kafka.admin.ConsumerGroupCommand) ;;
    configs) class=kafka.admin.ConfigCommand ;;
    acls) class=$(first_of org.apache.kafka.tools.AclCommand kafka.admin.AclCommand) ;;
    producer) class=$(first_of org.apache.kafka.tools.ConsoleProducer kafka.tools.ConsoleProducer) ;;
    consumer) class=$(first_of org.apache.kafka.tools.consumer.ConsoleConsumer kafka.tools.ConsoleConsumer) ;;
    dump) class=kafka.tools.DumpLogSegments; flag='' ;;
    *) flag='' ;;
  esac
  # Before brokers took over, these two asked ZooKeeper.
  case $class in
    kafka.admin.TopicCommand | kafka.admin.ConfigCommand) since 3 0 || flag=--zookeeper ;;
    kafka.tools.ConsoleProducer) since 2 5 || flag=--broker-list ;;
  esac
  [ -e "$dir/log4j2.xml" ] || write_log_config
  if [ -n "$flag" ]; then
    # An address given by the caller wins, so that the tools also work against a log that is not Apache's.
    case " $* " in
      *" $flag "*) ;;
      *)
        boot=$(sed -n 's/^BOOTSTRAP=//p' "$dir/env" 2>/dev/null) || die "no cluster in $dir"
        [ $flag != --zookeeper ] || boot=$(sed -n 's/^zookeeper.connect=//p' "$dir/1/server.properties")
        set -- "$flag" "$boot" "$@"
        ;;
    esac
  fi
  log_flags
  exec java -XX:TieredStopAtLevel=1 "${logging[@]}" -cp "$libs/*" "$class" "$@"
}

# Tools have moved from one package to another: the first class of these that the jars have, whose names stand in a jar as they are.
first_of() {
  local class
  for class in "$@"; do grep -qF "${class//.//}.class" "$libs"/kafka*.jar && break; done
  echo "$class"
}

main "$@"
