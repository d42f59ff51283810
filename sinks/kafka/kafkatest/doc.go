// Package kafkatest runs a real Apache Kafka for tests: the broker's jars come
// through Maven into the user's cache directory, a Java virtual machine runs
// each node, everything it writes goes to a temporary directory.
//
// Most tests share one broker through [Brokers]; a test that stops nodes, needs
// several, or needs a broker configured in a certain way starts its own with
// [Start]. Nodes end with the test binary, however it ends.
//
// The environment decides: KAFKA_BROKERS names brokers to use instead of the
// shared one; KAFKATEST_REQUIRED=1 makes tests fail rather than skip without Java
// or Maven.
package kafkatest
