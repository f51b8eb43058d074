// Command web is the app of the image-deploy tests: it answers with its version, by raw TCP too at TCP_PORT, and MODE makes it fail
// in a chosen way.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	mode, port := os.Getenv("MODE"), os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	host := ""
	switch mode {
	case "exits":
		log.Fatal("exiting with 1, as this version does")
	case "never-ready":
		log.Print("never listening, as this version does")
		wait(mode)
		return
	case "localhost":
		host = "127.0.0.1"
	case "other-port":
		port = "3999"
	case "dies-later":
		time.AfterFunc(duration("DIES_AFTER", 20*time.Second), func() { log.Fatal("dying, as this version does") })
	case "eats-memory":
		time.AfterFunc(duration("EATS_AFTER", time.Second), eat)
	}
	if raw := os.Getenv("TCP_PORT"); raw != "" {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, raw))
		if err != nil {
			log.Fatal(err)
		}
		go repeat(listener)
	}
	serve(net.JoinHostPort(host, port), mode)
}

// repeat says the version to whoever connects, then repeats what it hears.
func repeat(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer connection.Close()
			fmt.Fprintln(connection, os.Getenv("VERSION"))
			_, _ = io.Copy(connection, connection)
		}()
	}
}

// serve answers until SIGTERM, then finishes the requests that are under way.
func serve(address, mode string) {
	server := &http.Server{Addr: address, Handler: routes()}
	stopped := make(chan struct{})
	go func() {
		wait(mode)
		log.Print("draining")
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		close(stopped)
	}()
	log.Printf("version %s listening on %s", os.Getenv("VERSION"), address)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-stopped
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", hostname())
		fmt.Fprintln(w, os.Getenv("VERSION"))
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) {
		value, set := os.LookupEnv(r.URL.Query().Get("name"))
		if !set {
			http.Error(w, "not set", http.StatusNotFound)
			return
		}
		fmt.Fprint(w, value)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, r.URL.Query().Get("path")) })
	mux.HandleFunc("/id", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%d:%d\n", os.Getuid(), os.Getgid()) })
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "Host:", r.Host)
		_ = r.Header.Write(w)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		fmt.Fprintln(w, os.Getenv("VERSION"))
	})
	mux.HandleFunc("/sse", events)
	mux.HandleFunc("/crash", func(w http.ResponseWriter, r *http.Request) { log.Fatal("crashing, as asked") })
	return mux
}

// events sends a numbered server-sent event every 100 ms until the client leaves or `n` were sent.
func events(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil {
		n = 1 << 30
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for i := 0; i < n && r.Context().Err() == nil; i++ {
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i, os.Getenv("VERSION"))
		_ = http.NewResponseController(w).Flush()
		time.Sleep(100 * time.Millisecond)
	}
}

// eat allocates and touches memory until the kernel ends it.
func eat() {
	var held [][]byte
	for {
		block := make([]byte, 16<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		held = append(held, block)
		log.Printf("holding %d MiB", len(held)*16)
	}
}

// wait returns at SIGTERM or SIGINT; the mode ignores-term never returns.
func wait(mode string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	for received := range signals {
		if mode != "ignores-term" {
			return
		}
		log.Printf("ignoring %s, as this version does", received)
	}
}

func duration(name string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(name)); err == nil {
		return d
	}
	return otherwise
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}
