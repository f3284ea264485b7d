# RabbitMQ, as a node of its own with its own name server, so that no other node is in the way.

# A port that leaves room for the two that are derived from it.
low_port() {
  local port
  until port=$(free_port) && [ "$port" -lt 45000 ]; do :; done
  echo "$port"
}

start_rabbitmq() {
  local port home="$SERVICES_DIR/rabbitmq"
  port=$(low_port)
  mkdir -p "$home"/{mnesia,log,home}
  echo '[].' >"$home/plugins"
  printf 'disk_free_limit.absolute = 50MB\nvm_memory_high_watermark.absolute = 512MB\n' >"$home/rabbitmq.conf"
  # RabbitMQ would start a name server too, and leave it behind.
  epmd -address 127.0.0.1 -port $((port + 20000)) >"$home/epmd.log" 2>&1 </dev/null &
  started epmd $!
  env HOME="$home/home" RABBITMQ_NODENAME="tfe$port@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
    RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT=$((port + 10000)) RABBITMQ_MNESIA_BASE="$home/mnesia" \
    RABBITMQ_LOG_BASE="$home/log" RABBITMQ_CONFIG_FILE="$home/rabbitmq" RABBITMQ_PID_FILE="$home/pid" \
    RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config" RABBITMQ_CONF_ENV_FILE="$home/env.conf" \
    RABBITMQ_ENABLED_PLUGINS_FILE="$home/plugins" ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$((port + 20000)) \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \
    /usr/lib/rabbitmq/bin/rabbitmq-server >"$home/log/out" 2>&1 </dev/null &
  until_ready RabbitMQ "$home/log/out" test -s "$home/pid"
  started rabbitmq "$(cat "$home/pid")"
  # The listener opens last.
  until_ready RabbitMQ "$home/log/out" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
  note RABBITMQ_ADDRESS "127.0.0.1:$port"
}
