#!/usr/bin/env bash
# Generates the stubs and compiles with Debian's packages: default-jdk-headless protobuf-compiler
# protobuf-compiler-grpc-java-plugin libgrpc-java libprotobuf-java libnetty-java libperfmark-java
# libgeronimo-annotation-1.3-spec-java libnetty-tcnative-java libnetty-tcnative-jni. Then
#
#   java @build/options Render HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...
#
# With Maven or Gradle: io.grpc:grpc-netty-shaded, grpc-protobuf and grpc-stub, the stubs by their
# protobuf plugins from protos/.
set -euo pipefail
cd "$(dirname "$0")"
protos=../../../protos
rm -rf gen build
mkdir -p gen build/classes build/lib
(cd "$protos" && find gator/gateway gator/type google -name '*.proto') |
  xargs protoc -I "$protos" --java_out=gen --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" \
    --grpc-java_out=gen
classpath=$PWD/build/classes
for jar in grpc-{api,context,core,netty,protobuf,protobuf-lite,stub} protobuf guava perfmark-api \
  geronimo-annotation-1.3-spec netty-{buffer,codec,codec-http,codec-http2,codec-socks,common} \
  netty-{handler,handler-proxy,resolver,tcnative,transport,transport-native-unix-common}; do
  classpath+=:/usr/share/java/$jar.jar
done
find gen -name '*.java' -print0 | xargs -0 javac -nowarn -cp "$classpath" -d build/classes Render.java
echo "-Djava.library.path=$PWD/build/lib -cp $classpath" >build/options
# For TLS. Debian's file does not have the name that Netty looks for, and must not be a link.
cp /usr/lib/*/jni/libnetty-tcnative.so build/lib/libnetty_tcnative.so
