// What a Go programmer would write instead of Aqueduct: an MQTT broker library, a Kafka client library, and a hook between them that
// acknowledges a PUBLISH once Kafka has.
//
//	mochi-franz-go -listen HOST:PORT -kafka HOST:PORT -topic TOPIC [-linger 5ms] [-batch 1048576]
//
// Both libraries are the ones most often recommended for the task, and both are used as their authors mean them to be: mochi-mqtt has a
// goroutine for each client, franz-go batches what all of them produce, is idempotent and waits for all in-sync replicas.
//
// A hook that waited for Kafka would acknowledge one message of a client at a time. So this one tells the broker that the message is
// none of its business (ErrRejectPacket: no subscribers, no acknowledgement) and writes the PUBACK itself when the promise of its record
// is kept. A record that Kafka refuses gets no PUBACK, and the client is closed, so that it sends again.
package main

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/twmb/franz-go/pkg/kgo"
)

// egress sends every PUBLISH to one topic, with the client's id as the key.
type egress struct {
	mqtt.HookBase
	server *mqtt.Server
	kafka  *kgo.Client
}

func (e *egress) ID() string { return "egress" }

func (e *egress) Provides(hook byte) bool {
	return bytes.Contains([]byte{mqtt.OnPublish}, []byte{hook})
}

func (e *egress) OnPublish(client *mqtt.Client, publish packets.Packet) (packets.Packet, error) {
	if publish.FixedHeader.Qos == 2 {
		// The handshake of QoS 2 is the broker's, and it would begin before Kafka has the record.
		client.Stop(packets.ErrQosNotSupported)
		return publish, packets.ErrRejectPacket
	}
	record := &kgo.Record{Key: []byte(client.ID), Value: publish.Payload}
	e.kafka.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
		switch {
		case err != nil:
			e.server.Log.Error("not produced", "client", client.ID, "error", err)
			client.Stop(err)
		case publish.FixedHeader.Qos == 1:
			ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: publish.PacketID}
			// A client that has gone will send again.
			_ = client.WritePacket(ack)
		}
	})
	return publish, packets.ErrRejectPacket
}

func main() {
	listen := flag.String("listen", "127.0.0.1:1883", "address of the MQTT listener")
	bootstrap := flag.String("kafka", "127.0.0.1:9092", "bootstrap address")
	topic := flag.String("topic", "mqtt", "Kafka topic")
	linger := flag.Duration("linger", 5*time.Millisecond, "how long a record may wait for others")
	batch := flag.Int("batch", 1<<20, "most bytes of a batch")
	flag.Parse()
	if err := run(*listen, *bootstrap, *topic, *linger, int32(*batch)); err != nil {
		slog.Error("mochi-franz-go", "error", err)
		os.Exit(1)
	}
}

func run(listen, bootstrap, topic string, linger time.Duration, batch int32) error {
	kafka, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.DefaultProduceTopic(topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(linger),
		kgo.ProducerBatchMaxBytes(batch),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		// More than all clients together may have open; at the default of 10,000 Produce blocks.
		kgo.MaxBufferedRecords(1_000_000),
	)
	if err != nil {
		return err
	}
	defer kafka.Close()
	if err := kafka.Ping(context.Background()); err != nil {
		return err
	}
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if err := server.AddHook(&egress{server: server, kafka: kafka}, nil); err != nil {
		return err
	}
	if err := server.AddListener(listeners.NewTCP(listeners.Config{ID: "tcp", Address: listen})); err != nil {
		return err
	}
	if err := server.Serve(); err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
	return server.Close()
}
