#!/bin/sh
# Who may do what on a Kafka cluster with an authorizer. Run it where kafka-acls.sh
# is, as a user that may change ACLs:
#
#   KAFKA_ACLS="kafka-acls.sh --bootstrap-server kafka:9092 --command-config admin.properties" ./acls.sh
#
# A reader gets events and cannot acknowledge emergencies; an operator
# acknowledges emergencies and cannot read messages. Set CONNECTOR, READER and
# OPERATOR to use principals other than the defaults.
set -eu
connector=${CONNECTOR:-User:pushover-connector}
reader=${READER:-User:pushover-reader}
operator=${OPERATOR:-User:pushover-operator}
acl() { principal=$1; shift; ${KAFKA_ACLS:?the command, as above} --add --allow-principal "$principal" "$@"; }

# The connector writes events and results, reads both back, and reads commands.
# Its transactional id, one per device, is what fences a second connector.
acl "$connector" --operation Read --operation Write --operation Describe --operation DescribeConfigs --topic pushover.messages
acl "$connector" --operation Read --operation Write --operation Describe --operation DescribeConfigs --topic pushover.results
acl "$connector" --operation Read --operation Write --operation Describe --operation DescribeConfigs --topic pushover.deadletter
acl "$connector" --operation Read --operation Describe --operation DescribeConfigs --topic pushover.control
acl "$connector" --operation Read --group pushover-connector
acl "$connector" --operation Write --operation Describe --transactional-id pushover-connector: --resource-pattern-type prefixed
# Needed only if it creates the topics itself (KAFKA_CREATE_TOPICS, the default).
acl "$connector" --operation Create --topic pushover. --resource-pattern-type prefixed

# Readers: messages and dead letters, under groups of their own.
acl "$reader" --operation Read --operation Describe --topic pushover.messages
acl "$reader" --operation Read --operation Describe --topic pushover.deadletter
acl "$reader" --operation Read --group pushover-reader --resource-pattern-type prefixed

# Operators: commands and their results. Results contain receipts, never texts.
acl "$operator" --operation Write --operation Describe --topic pushover.control
acl "$operator" --operation Read --operation Describe --topic pushover.results
acl "$operator" --operation Read --group pushover-operator --resource-pattern-type prefixed
