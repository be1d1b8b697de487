// Java's two ways: a selector with non-blocking channels, and blocking sockets.

import java.io.DataInputStream;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

public class Programs {
    static final int ROUNDS = 200;
    static final int ROUND = 1024;

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[1]);
        switch (args[0]) {
            case "nio-server" -> nioServer(port);
            case "nio-client" -> nioClient(port, Files.readAllBytes(Path.of(args[2])));
            case "blocking-server" -> blockingServer(port);
            case "blocking-client" -> blockingClient(port, Files.readAllBytes(Path.of(args[2])));
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    // Echoes; a buffer that could not be written waits for OP_WRITE.
    static void nioServer(int port) throws Exception {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress("127.0.0.1", port));
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        while (true) {
            selector.select();
            var keys = selector.selectedKeys().iterator();
            while (keys.hasNext()) {
                SelectionKey key = keys.next();
                keys.remove();
                if (key.isAcceptable()) {
                    SocketChannel channel = listener.accept();
                    channel.configureBlocking(false);
                    channel.register(selector, SelectionKey.OP_READ, ByteBuffer.allocate(64 * 1024));
                    continue;
                }
                SocketChannel channel = (SocketChannel) key.channel();
                ByteBuffer buffer = (ByteBuffer) key.attachment();
                if (key.isReadable()) {
                    buffer.clear();
                    if (channel.read(buffer) < 0) {
                        channel.close();
                        continue;
                    }
                    buffer.flip();
                }
                channel.write(buffer);
                key.interestOps(buffer.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ);
            }
        }
    }

    static void nioClient(int port, byte[] content) throws Exception {
        SocketChannel channel = SocketChannel.open();
        channel.configureBlocking(false);
        Selector selector = Selector.open();
        channel.connect(new InetSocketAddress("127.0.0.1", port));
        SelectionKey key = channel.register(selector, SelectionKey.OP_CONNECT);
        while (!channel.finishConnect()) {
            selector.select();
            selector.selectedKeys().clear();
        }
        byte[] round = Arrays.copyOf(content, ROUND);
        for (int i = 0; i < ROUNDS; i++) {
            exchange(channel, selector, key, round);
        }
        exchange(channel, selector, key, content);
        channel.shutdownOutput();
        key.interestOps(SelectionKey.OP_READ);
        selector.select();
        if (channel.read(ByteBuffer.allocate(1)) >= 0) {
            throw new IllegalStateException("more bytes came back than were sent");
        }
        System.out.println("equal");
    }

    // Sends and reads back at the same time.
    static void exchange(SocketChannel channel, Selector selector, SelectionKey key, byte[] bytes) throws Exception {
        ByteBuffer out = ByteBuffer.wrap(bytes);
        ByteBuffer in = ByteBuffer.allocate(bytes.length);
        while (in.hasRemaining()) {
            key.interestOps(SelectionKey.OP_READ | (out.hasRemaining() ? SelectionKey.OP_WRITE : 0));
            selector.select();
            selector.selectedKeys().clear();
            if (out.hasRemaining()) {
                channel.write(out);
            }
            if (channel.read(in) < 0) {
                throw new IllegalStateException("the end came after " + in.position() + " of " + bytes.length + " bytes");
            }
        }
        if (!Arrays.equals(in.array(), bytes)) {
            throw new IllegalStateException("other bytes came back than were sent");
        }
    }

    static void blockingServer(int port) throws Exception {
        ServerSocket listener = new ServerSocket();
        listener.bind(new InetSocketAddress("127.0.0.1", port));
        while (true) {
            Socket socket = listener.accept();
            new Thread(() -> {
                try (socket; InputStream in = socket.getInputStream()) {
                    in.transferTo(socket.getOutputStream());
                    socket.shutdownOutput();
                } catch (Exception error) {
                    error.printStackTrace();
                }
            }).start();
        }
    }

    static void blockingClient(int port, byte[] content) throws Exception {
        try (Socket socket = new Socket("127.0.0.1", port)) {
            DataInputStream in = new DataInputStream(socket.getInputStream());
            byte[] round = Arrays.copyOf(content, ROUND);
            byte[] back = new byte[ROUND];
            for (int i = 0; i < ROUNDS; i++) {
                socket.getOutputStream().write(round);
                in.readFully(back);
                if (!Arrays.equals(back, round)) {
                    throw new IllegalStateException("a round trip differs");
                }
            }
            Thread sender = new Thread(() -> {
                try {
                    socket.getOutputStream().write(content);
                    socket.shutdownOutput();
                } catch (Exception error) {
                    error.printStackTrace();
                }
            });
            sender.start();
            if (!Arrays.equals(in.readAllBytes(), content)) {
                throw new IllegalStateException("other bytes came back than were sent");
            }
            sender.join();
            System.out.println("equal");
        }
    }
}
