# An S3-compatible object store: ministack, which keeps conditions and multipart uploads like Amazon's.

start_s3() {
  local port home="$SERVICES_DIR/s3" bucket
  port=$(free_port)
  mkdir "$home"
  # Without BIND_HOST it would listen on every interface.
  SERVICES=s3 GATEWAY_PORT=$port BIND_HOST=127.0.0.1 HOME=$home \
    "$SERVICES_CACHE/s3/bin/ministack" >"$home/log" 2>&1 </dev/null &
  started s3 $!
  until_ready "the object store" "$home/log" curl -sf "http://127.0.0.1:$port/"
  for bucket in tfe tfe-vault tfe-test; do
    curl -sf -X PUT "http://127.0.0.1:$port/$bucket" >/dev/null
  done
  note S3_ADDRESS "http://127.0.0.1:$port"
  note S3_PROGRAM "$SERVICES_CACHE/s3/bin/ministack"
}
