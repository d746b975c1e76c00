# Envoy ends at once at SIGTERM, in the middle of its answers. This comes before: clients are told to
# come back on another connection, and it ends when nobody is being answered, or after five minutes.
admin=${1:-9901}

ask() {
  exec 3<>"/dev/tcp/127.0.0.1/$admin" || exit 0
  printf '%s %s HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n' "$1" "$2" >&3
  cat <&3
  exec 3>&-
}

sleep 5 # until nobody is sent here any more
ask POST "/drain_listeners?graceful&skip_exit" >/dev/null
for _ in $(seq 300); do
  ask GET "/stats?filter=^http.inference.downstream_rq_active$" | grep -q 'downstream_rq_active: [1-9]' || exit 0
  sleep 1
done
