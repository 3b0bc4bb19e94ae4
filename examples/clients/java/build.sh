#!/usr/bin/env bash
# Generates the stubs and compiles with Debian's packages: default-jdk-headless protobuf-compiler
# protobuf-compiler-grpc-java-plugin libgrpc-java libprotobuf-java libnetty-java libperfmark-java
# libgeronimo-annotation-1.3-spec-java. Then
#
#   java -cp "$(cat build/classpath)" Render HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...
#
# With Maven or Gradle: io.grpc:grpc-netty-shaded, grpc-protobuf and grpc-stub, the stubs by their
# protobuf plugins from protos/.
set -euo pipefail
cd "$(dirname "$0")"
protos=../../../protos
rm -rf gen build
mkdir -p gen build/classes
(cd "$protos" && find gator/gateway gator/type google -name '*.proto') |
  xargs protoc -I "$protos" --java_out=gen --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" \
    --grpc-java_out=gen
classpath=$PWD/build/classes
for jar in grpc-{api,context,core,netty,protobuf,protobuf-lite,stub} protobuf guava perfmark-api \
  geronimo-annotation-1.3-spec netty-{buffer,codec,codec-http,codec-http2,codec-socks,common} \
  netty-{handler,handler-proxy,resolver,transport,transport-native-unix-common}; do
  classpath+=:/usr/share/java/$jar.jar
done
find gen -name '*.java' -print0 | xargs -0 javac -nowarn -cp "$classpath" -d build/classes Render.java
printf %s "$classpath" >build/classpath
