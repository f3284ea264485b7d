# The smallest configuration that changes something: terraform_data needs no provider and no cloud.

variable "greeting" {
  type        = string
  default     = "Hello"
  description = "How to greet."
}

resource "terraform_data" "hello" {
  input = "${var.greeting} from ${terraform.workspace}"
}

output "message" {
  value = terraform_data.hello.output
}
