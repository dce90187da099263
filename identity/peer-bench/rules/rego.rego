# The ten rules of blindfold.yaml. A prefix stands for the pattern, and times are numbers, both of which save it work.
package acme

import rego.v1

default allow := false

allow if {
	not forbidden
	permitted
}

forbidden if input.attributes.environment == "laptop"

forbidden if input.attributes.quarantined

permitted if {
	input.action == "open"
	startswith(input.spiffe_id, "spiffe://acme.example/paris/ns/billing/sa/")
	input.attributes.environment == "production"
	input.attributes.tier in {"gold", "silver"}
	startswith(input.resource, "unseal/acme/eu-")
	input.now >= 1767225600
	input.now <= 2082758400
}

permitted if {
	input.action == "open"
	startswith(input.spiffe_id, "spiffe://acme.example/paris/ns/checkout/sa/")
	input.attributes.environment == "production"
	input.attributes.tier in {"gold", "silver"}
	startswith(input.resource, "unseal/acme/eu-")
	input.now >= 1767225600
	input.now <= 2082758400
}

permitted if {
	input.action == "open"
	startswith(input.spiffe_id, "spiffe://acme.example/paris/ns/fraud/sa/")
	input.attributes.environment == "production"
	input.attributes.tier in {"gold", "silver"}
	startswith(input.resource, "unseal/acme/eu-")
	input.now >= 1767225600
	input.now <= 2082758400
}

permitted if {
	input.action == "open"
	startswith(input.spiffe_id, "spiffe://acme.example/paris/ns/ledger/sa/")
	input.attributes.environment == "production"
	input.attributes.tier in {"gold", "silver"}
	startswith(input.resource, "unseal/acme/eu-")
	input.now >= 1767225600
	input.now <= 2082758400
}

permitted if {
	input.action == "open"
	startswith(input.spiffe_id, "spiffe://acme.example/paris/ns/orders/sa/")
	input.attributes.environment == "production"
	input.attributes.tier in {"gold", "silver"}
	startswith(input.resource, "unseal/acme/eu-")
	input.now >= 1767225600
	input.now <= 2082758400
}

permitted if {
	input.action == "open"
	startswith(input.spiffe_id, "spiffe://acme.example/paris/ns/payouts/sa/")
	input.attributes.environment == "production"
	input.attributes.tier in {"gold", "silver"}
	startswith(input.resource, "unseal/acme/eu-")
	input.now >= 1767225600
	input.now <= 2082758400
}

permitted if {
	input.action == "open"
	startswith(input.spiffe_id, "spiffe://acme.example/paris/ns/tax/sa/")
	input.attributes.environment == "production"
	input.attributes.tier in {"gold", "silver"}
	startswith(input.resource, "unseal/acme/eu-")
	input.now >= 1767225600
	input.now <= 2082758400
}

permitted if {
	input.action == "open"
	startswith(input.spiffe_id, "spiffe://acme.example/paris/ns/payments/sa/")
	input.attributes.environment == "production"
	input.attributes.tier in {"gold", "silver"}
	startswith(input.resource, "unseal/acme/eu-")
	input.now >= 1767225600
	input.now <= 2082758400
}
