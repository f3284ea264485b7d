# The least that a server needs of the transit engine, for the mount "transit" and the key "tfe".
path "transit/encrypt/tfe" {
  capabilities = ["update"]
}
path "transit/decrypt/tfe" {
  capabilities = ["update"]
}
path "transit/rewrap/tfe" {
  capabilities = ["update"]
}
# "create" and "update" let the first start make the key; without them make it by hand, with derived=true.
path "transit/keys/tfe" {
  capabilities = ["create", "read", "update"]
}
# For tfe keys rotate.
path "transit/keys/tfe/rotate" {
  capabilities = ["update"]
}
