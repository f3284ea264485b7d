# Redis, without any file.

start_redis() {
  local port home="$SERVICES_DIR/redis"
  port=$(free_port)
  mkdir "$home"
  redis-server --port "$port" --bind 127.0.0.1 --dir "$home" --save '' --appendonly no >"$home/log" 2>&1 </dev/null &
  started redis $!
  until_ready Redis "$home/log" sh -c "redis-cli -p $port ping | grep -q PONG"
  note REDIS_ADDRESS "127.0.0.1:$port"
}
