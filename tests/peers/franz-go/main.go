// Reads a topic with franz-go and prints one line for each record: partition, offset, key and value.
//
//	franz-go direct BOOTSTRAP TOPIC COUNT          every partition from its start, without a group
//	franz-go group BOOTSTRAP TOPIC COUNT GROUP     as a member of a group, from where it has committed
//
// It ends after COUNT records; as a member it commits exactly those and leaves the group.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 30 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "franz-go:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 4 || (args[0] == "group") != (len(args) == 5) {
		return fmt.Errorf("usage: franz-go direct BOOTSTRAP TOPIC COUNT | group BOOTSTRAP TOPIC COUNT GROUP")
	}
	count, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(args[1]),
		kgo.ConsumeTopics(args[2]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}
	if args[0] == "group" {
		options = append(options, kgo.ConsumerGroup(args[4]), kgo.DisableAutoCommit())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	// Leaves the group as well.
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	read, err := consume(ctx, client, count)
	if err != nil {
		return err
	}
	if args[0] == "group" {
		return client.CommitRecords(ctx, read...)
	}
	return nil
}

// consume prints and returns the first count records that come.
func consume(ctx context.Context, client *kgo.Client, count int) ([]*kgo.Record, error) {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	var read []*kgo.Record
	for len(read) < count {
		fetches := client.PollRecords(ctx, count-len(read))
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d of %d records: %w", len(read), count, err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			read = append(read, record)
			fmt.Fprintln(out, record.Partition, record.Offset, string(record.Key), string(record.Value))
		})
	}
	return read, nil
}
