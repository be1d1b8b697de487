// Go's own servers, clients and proxies, as programs written in Go have them.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	switch os.Args[1] {
	case "server":
		server(os.Args[2], os.Args[3])
	case "client":
		client(os.Args[2], os.Args[3])
	case "proxy":
		accept(os.Args[2], func(conn net.Conn) {
			upstream, err := net.Dial("tcp", os.Args[3])
			if err != nil {
				conn.Close()
				return
			}
			both(conn, upstream)
		})
	case "connect":
		check(http.ListenAndServe(os.Args[2], http.HandlerFunc(connect)))
	default:
		check(fmt.Errorf("unknown program %s", os.Args[1]))
	}
}

// Answers /bytes/N with the first N bytes of the file, and a POST with the length and the SHA-256 of its body.
func server(address, file string) {
	content, err := os.ReadFile(file)
	check(err)
	http.HandleFunc("/bytes/", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/bytes/"))
		if err != nil || n > len(content) {
			http.Error(w, "how many?", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(n))
		w.Write(content[:n])
	})
	http.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%d %x", n, sum.Sum(nil))
	})
	check(http.ListenAndServe(address, nil))
}

// Small requests one after the other, then a large answer and a large body; every byte is compared.
func client(base, file string) {
	content, err := os.ReadFile(file)
	check(err)
	get := func(n int) {
		answer, err := http.Get(fmt.Sprintf("%s/bytes/%d", base, n))
		check(err)
		body, err := io.ReadAll(answer.Body)
		check(err)
		answer.Body.Close()
		if answer.StatusCode != 200 || !bytes.Equal(body, content[:n]) {
			check(fmt.Errorf("%d bytes came of %d, status %d, or others than the file's", len(body), n, answer.StatusCode))
		}
	}
	for i := 0; i < 200; i++ {
		get(1024)
	}
	get(len(content))
	answer, err := http.Post(base+"/sum", "application/octet-stream", bytes.NewReader(content))
	check(err)
	body, err := io.ReadAll(answer.Body)
	check(err)
	if want := fmt.Sprintf("%d %x", len(content), sha256.Sum256(content)); string(body) != want {
		check(fmt.Errorf("the server received %s, not %s", body, want))
	}
	fmt.Println("equal")
}

func accept(address string, serve func(net.Conn)) {
	listener, err := net.Listen("tcp", address)
	check(err)
	for {
		conn, err := listener.Accept()
		check(err)
		go serve(conn)
	}
}

// io.Copy between two TCP connections is splice(2).
func both(a, b net.Conn) {
	done := make(chan struct{})
	copy := func(to, from net.Conn) {
		io.Copy(to, from)
		to.(*net.TCPConn).CloseWrite()
		done <- struct{}{}
	}
	go copy(a, b)
	go copy(b, a)
	<-done
	<-done
	a.Close()
	b.Close()
}

// A CONNECT proxy: it receives first, and splices later.
func connect(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	upstream, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		upstream.Close()
		return
	}
	both(conn, upstream)
}
