// Java's own `java.net.http.WebSocket` against the echo handler:
//   java JavaEcho.java ws://ADDR/echo
// One line of output for each check; the exit code says whether all passed.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public final class JavaEcho {
    private static final int CHECK_SECONDS_MAX = 20;
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    private interface Check {
        void run() throws Exception;
    }

    private final URI uri;
    private int passed;
    private int failed;

    private JavaEcho(URI uri) {
        this.uri = uri;
    }

    /** Joins partial messages and keeps what arrived, in order. */
    private static final class Inbox implements WebSocket.Listener {
        final LinkedBlockingQueue<Object> messages = new LinkedBlockingQueue<>();
        final CompletableFuture<Integer> closed = new CompletableFuture<>();
        private final StringBuilder text = new StringBuilder();
        private byte[] bytes = {};

        @Override
        public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean last) {
            text.append(part);
            if (last) {
                messages.add(text.toString());
                text.setLength(0);
            }
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer part, boolean last) {
            int before = bytes.length;
            bytes = Arrays.copyOf(bytes, before + part.remaining());
            part.get(bytes, before, bytes.length - before);
            if (last) {
                messages.add(bytes);
                bytes = new byte[0];
            }
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onPong(WebSocket socket, ByteBuffer payload) {
            byte[] pong = new byte[payload.remaining()];
            payload.get(pong);
            messages.add("pong " + new String(pong));
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            closed.complete(code);
            return null;
        }

        @Override
        public void onError(WebSocket socket, Throwable error) {
            closed.completeExceptionally(error);
        }

        Object next() throws Exception {
            Object message = messages.poll(CHECK_SECONDS_MAX, TimeUnit.SECONDS);
            return Objects.requireNonNull(message, "nothing came back");
        }

        int closeCode() throws Exception {
            return closed.get(CHECK_SECONDS_MAX, TimeUnit.SECONDS);
        }
    }

    private WebSocket open(Inbox inbox) throws Exception {
        return HTTP.newWebSocketBuilder().buildAsync(uri, inbox).get(CHECK_SECONDS_MAX, TimeUnit.SECONDS);
    }

    private static void close(WebSocket socket) throws Exception {
        socket.sendClose(WebSocket.NORMAL_CLOSURE, "").get(CHECK_SECONDS_MAX, TimeUnit.SECONDS);
    }

    private static void expect(Object actual, Object wanted) {
        if (!Objects.deepEquals(actual, wanted)) {
            throw new AssertionError(shown(actual) + " where " + shown(wanted) + " was right");
        }
    }

    private static String shown(Object value) {
        String all = value instanceof byte[] bytes ? bytes.length + " bytes" : String.valueOf(value);
        return all.length() > 80 ? all.substring(0, 80) : all;
    }

    private void check(String name, Check check) {
        try {
            check.run();
            passed += 1;
            System.out.println("ok " + name);
        } catch (Exception | AssertionError error) {
            failed += 1;
            System.out.println("FAILED " + name + ": " + error);
        }
    }

    /** One message in as many frames as there are parts. */
    private void text(String... parts) throws Exception {
        Inbox inbox = new Inbox();
        WebSocket socket = open(inbox);
        for (int index = 0; index < parts.length; index += 1) {
            socket.sendText(parts[index], index == parts.length - 1).get(CHECK_SECONDS_MAX, TimeUnit.SECONDS);
        }
        expect(inbox.next(), String.join("", parts));
        close(socket);
    }

    private void binary(byte[] wanted, int fragmentBytes) throws Exception {
        Inbox inbox = new Inbox();
        WebSocket socket = open(inbox);
        int at = 0;
        do {
            int end = Math.min(at + fragmentBytes, wanted.length);
            ByteBuffer part = ByteBuffer.wrap(wanted, at, end - at);
            socket.sendBinary(part, end == wanted.length).get(CHECK_SECONDS_MAX, TimeUnit.SECONDS);
            at = end;
        } while (at < wanted.length);
        expect(inbox.next(), wanted);
        close(socket);
    }

    private void order() throws Exception {
        Inbox inbox = new Inbox();
        WebSocket socket = open(inbox);
        for (int index = 0; index < 500; index += 1) {
            socket.sendText("message " + index, true).get(CHECK_SECONDS_MAX, TimeUnit.SECONDS);
        }
        for (int index = 0; index < 500; index += 1) {
            expect(inbox.next(), "message " + index);
        }
        close(socket);
    }

    private void ping() throws Exception {
        Inbox inbox = new Inbox();
        WebSocket socket = open(inbox);
        socket.sendPing(ByteBuffer.wrap("are you there".getBytes())).get(CHECK_SECONDS_MAX, TimeUnit.SECONDS);
        expect(inbox.next(), "pong are you there");
        close(socket);
    }

    private void closeWithACode() throws Exception {
        Inbox inbox = new Inbox();
        WebSocket socket = open(inbox);
        socket.sendClose(4001, "enough").get(CHECK_SECONDS_MAX, TimeUnit.SECONDS);
        expect(inbox.closeCode(), 4001);
    }

    private static byte[] random(int length) {
        byte[] bytes = new byte[length];
        new Random(length).nextBytes(bytes);
        return bytes;
    }

    private boolean run() {
        check("text", () -> text("hello"));
        check("empty text", () -> text(""));
        check("unicode text", () -> text("Grüße, 世界, \uD83E\uDD80 and \0 and e\u0301"));
        check("text of 200 KiB", () -> text("wharf \uD83E\uDD80 ".repeat(20_480)));
        check("binary", () -> binary(random(256), 256));
        check("empty binary", () -> binary(random(0), 1));
        check("binary of 200 KiB", () -> binary(random(204_800), 204_800));
        check("fragmented text", () -> text("one ", "", "two \uD83E\uDD80 ", "three"));
        check("fragmented binary", () -> binary(random(100_000), 7_000));
        check("500 messages in order", this::order);
        check("a ping is answered", this::ping);
        check("close with a code comes back", this::closeWithACode);
        System.out.println(passed + " passed, " + failed + " failed");
        return failed == 0;
    }

    public static void main(String[] arguments) {
        if (arguments.length != 1) {
            System.err.println("usage: java JavaEcho.java URL");
            System.exit(2);
        }
        System.exit(new JavaEcho(URI.create(arguments[0])).run() ? 0 : 1);
    }
}
