"""Sources of records other than Kafka: files, standard input and a synthetic feed."""
