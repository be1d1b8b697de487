// relay MODE LISTEN TARGET: a TCP proxy (copy), or an HTTP one for CONNECT alone (connect), as they are usually written
// in Go: both end in io.Copy between two connections, which splices.
package main

import (
	"io"
	"net"
	"net/http"
	"os"
)

func tunnel(client, server net.Conn) {
	done := make(chan struct{})
	go func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
		close(done)
	}()
	io.Copy(client, server)
	client.(*net.TCPConn).CloseWrite()
	<-done
	client.Close()
	server.Close()
}

func main() {
	mode, listen, target := os.Args[1], os.Args[2], os.Args[3]
	if mode == "connect" {
		panic(http.ListenAndServe(listen, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
			server, err := net.Dial("tcp", target)
			if err != nil {
				panic(err)
			}
			answer.WriteHeader(200)
			client, _, err := answer.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			tunnel(client, server)
		})))
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		panic(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			server, err := net.Dial("tcp", target)
			if err != nil {
				panic(err)
			}
			tunnel(client, server)
		}()
	}
}
