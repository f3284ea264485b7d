# What those who use the services are told, from what the services noted.

export_line() {
  printf "export %s='%s'\n" "$1" "${2//\'/\'\\\'\'}"
}

# The settings of a mode, in the names of Terraform Enterprise.
mode_environment() {
  # shellcheck source=/dev/null
  . "$SERVICES_DIR/environment"
  case $1 in
  demo | disk) export_line TFE_OPERATIONAL_MODE "$1" ;;
  external)
    external_environment tfe tfe
    export_line TFE_ENCRYPTION_PASSWORD "$ENCRYPTION_PASSWORD"
    ;;
  external-vault)
    external_environment tfe_vault tfe-vault
    export_line TFE_VAULT_USE_EXTERNAL true
    export_line TFE_VAULT_ADDRESS "$VAULT_ADDRESS"
    export_line TFE_VAULT_PATH auth/approle
    export_line TFE_VAULT_ROLE_ID "$VAULT_ROLE_ID"
    export_line TFE_VAULT_SECRET_ID "$VAULT_SECRET_ID"
    ;;
  *) return 2 ;;
  esac
}

# external_environment DATABASE BUCKET: of their own for each mode, so that both can be tried on the same services.
external_environment() {
  export_line TFE_OPERATIONAL_MODE external
  export_line TFE_DATABASE_HOST "$POSTGRES_ADDRESS"
  export_line TFE_DATABASE_NAME "$1"
  export_line TFE_DATABASE_USER tfe
  export_line TFE_DATABASE_PASSWORD "$POSTGRES_PASSWORD"
  export_line TFE_DATABASE_PARAMETERS sslmode=disable
  export_line TFE_OBJECT_STORAGE_TYPE s3
  export_line TFE_OBJECT_STORAGE_S3_BUCKET "$2"
  export_line TFE_OBJECT_STORAGE_S3_REGION us-east-1
  export_line TFE_OBJECT_STORAGE_S3_ENDPOINT "$S3_ADDRESS"
  export_line TFE_OBJECT_STORAGE_S3_ACCESS_KEY_ID test
  export_line TFE_OBJECT_STORAGE_S3_SECRET_ACCESS_KEY test
  export_line TFE_REDIS_HOST "$REDIS_ADDRESS"
  export_line TFE_RABBITMQ_URL "amqp://guest:guest@$RABBITMQ_ADDRESS"
}

# Where the services are, for the test suites.
test_environment() {
  # shellcheck source=/dev/null
  . "$SERVICES_DIR/environment"
  export_line TFE_TEST_POSTGRES "postgres://postgres@$POSTGRES_ADDRESS/postgres"
  export_line TFE_TEST_POSTGRES_PROGRAMS "$POSTGRES_PROGRAMS"
  export_line TFE_TEST_S3 "$S3_ADDRESS"
  export_line TFE_TEST_S3_BUCKET tfe-test
  export_line TFE_TEST_S3_PROGRAM "$S3_PROGRAM"
  export_line TFE_TEST_VAULT "$VAULT_ADDRESS"
  export_line TFE_TEST_VAULT_TOKEN "$VAULT_TOKEN"
  export_line TFE_TEST_VAULT_PROGRAM "$VAULT_PROGRAM"
  export_line TFE_TEST_REDIS "redis://$REDIS_ADDRESS"
  export_line TFE_TEST_RABBITMQ "amqp://guest:guest@$RABBITMQ_ADDRESS"
}
